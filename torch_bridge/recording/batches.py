"""Which examples each step used: the loader's batches, matched with what the model was given."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_bridge.recording.batch import Batch, as_array, has_storage, tensors_of
from torch_bridge.recording.hooks import with_methods
from torch_bridge.trace.batch import leaves_of

if TYPE_CHECKING:
    import torch

_MOMENTS = itertools.count()
_KEPT = 64  # batches without indices that no step has used yet, such as those of an evaluation
_REMEMBERED = 8  # batches whose tensors are kept: a look-ahead loop holds two, a prefetcher a few


class Batches:
    """Follows a DataLoader, with or without worker processes, and finds which of its batches a step used.

    Where the examples have no indices (an IterableDataset, keys that are no integers, workers in any order), the
    batches themselves are kept.

    A batch counts as used if the model was given one of its tensors, or a view of one. Where the model is given none of
    them (they were copied to another device, or augmented), the batches drawn since the last step are taken, provided
    that they are as many as the step's forward or backward passes; else `take` gives a sentence, and nothing from then
    on.

    Attributes:
        epoch_began: whether an iteration of the loader began since this was last set to False.
        latest: the batch that the loader gave last.
        moment: when it did so, greater than those of earlier batches of any loader.
        reason: why there are no indices, in a sentence, once that is so.
    """

    def __init__(self, loader: "torch.utils.data.DataLoader[Any]", fail: Callable[[str], None]) -> None:
        """Attach to a loader.

        Args:
            loader: of the training set.
            fail: receives a sentence on what cannot be recorded.
        """
        self.epoch_began = False
        self.latest: Any = None
        self.moment = -1
        self.reason: str | None = None
        self._fail = fail
        self._recent: list[Batch] = []
        self._used: list[Batch] = []
        self._calls = 0
        self._passed: tuple[list[Batch], int, int] = ([], 0, 0)
        self._lost = False
        self._queue: deque[Any] = deque()
        self._undo = [self._hook_sampler(loader), self._hook_iteration(loader)]
        # With in_order=False batches come in the order of arrival, which is not that of the sampler.
        self._in_order = getattr(loader, "in_order", True) or loader.num_workers < 2

    def pause(self) -> None:
        """Record nothing from now on."""
        self._lost, self._recent, self.latest = True, [], None

    def close(self) -> None:
        """Remove the hooks."""
        while self._undo:
            self._undo.pop()()

    @property
    def is_matched(self) -> bool:
        """Whether the model was given tensors of this loader since the last step."""
        return bool(self._used)

    @property
    def has_fresh(self) -> bool:
        """Whether the loader gave batches that no step has used."""
        return any(not batch.taken for batch in self._recent)

    def skip(self) -> None:
        """Hear that a step is over that used another loader."""
        self._used, self._calls, self._passed = [], 0, ([], 0, 0)
        self._recent = self._recent[-1:]
        for batch in self._recent:
            batch.taken = True

    def called(self, given: Any, part: bool = False) -> None:
        """Note the arguments of a call of the model, or a part of it, in nested containers."""
        self._calls += not part
        tensors = list(tensors_of(given))
        batch = self._match(lambda own: any(own is tensor for tensor in tensors))
        if batch is None:
            places = {tensor.untyped_storage().data_ptr() for tensor in tensors if has_storage(tensor)} - {0}
            batch = self._match(lambda own: has_storage(own) and own.untyped_storage().data_ptr() in places)
        if batch is not None and batch not in self._used:
            self._used.append(batch)

    def take(self, n_backward: int) -> list[Batch]:
        """Return each batch that the step used, and begin the next one.

        Args:
            n_backward: how many backward passes the step had.
        """
        used, fresh = self._used, [batch for batch in self._recent if not batch.taken]
        if not used and not self._lost:
            if len(fresh) == 1 or len(fresh) in (self._calls, n_backward):
                used = fresh
            else:
                self._lose(
                    f"{len(fresh)} batches were drawn from the loader for a step of {self._calls} forward passes, and "
                    "the model was given none of their tensors"
                )
        self._used, self._calls, self._passed = [], 0, ([], 0, 0)
        if any(batch.indices is None and not batch.leaves for batch in used):
            self._lose(f"more than {_KEPT} batches without indices were drawn for a step")
            used = []
        if used:
            first = self._recent.index(used[-1]) if used[-1] in self._recent else 0
            self._recent = self._recent[first:]  # the last one may be used again
            for batch in used:
                batch.taken = True
        return used

    def passed(self) -> None:
        """Note that a backward pass is over."""
        self._passed = (list(self._recent), len(self._used), self._calls)

    def cleared(self) -> None:
        """Drop what the step used up to its latest backward pass."""
        batches, n_used, n_calls = self._passed
        self._used, self._calls = self._used[n_used:], self._calls - n_calls
        for batch in batches:
            batch.taken = batch.taken or batch not in self._used
        self._passed = ([], 0, 0)

    def _lose(self, reason: str) -> None:
        self._lost = True
        self.reason = f"{reason}; so the trace has no batches from here on"
        self._fail(self.reason)

    def _match(self, is_own: Callable[[Any], bool]) -> Batch | None:
        found = [batch for batch in reversed(self._recent) if any(is_own(tensor) for tensor in batch.tensors)]
        return found[0] if len(found) == 1 else None

    def _began(self, queue: deque[Any]) -> None:
        self._queue = queue
        self.epoch_began = True
        for batch in self._recent:
            batch.taken = True

    def _gave(self, batch: Any, queue: deque[Any]) -> None:
        self.latest, self.moment = batch, next(_MOMENTS)
        if self._lost or not queue:
            return
        drawn = queue.popleft()
        try:
            indices = np.atleast_1d(np.asarray(drawn, np.int64)) if self._in_order else None
        except (TypeError, ValueError):
            indices = None
        leaves, structure = ({}, None) if indices is not None else leaves_of(batch, as_array)
        if indices is None and not leaves:
            self._lose(f"the loader's sampler does not draw integers, and its batches are {type(batch).__name__}")
            return
        self._recent.append(Batch(indices, leaves, structure, list(tensors_of(batch))))
        for old in self._recent[:-_REMEMBERED]:
            old.tensors.clear()
        for old in self._recent[:-_KEPT]:
            if old not in self._used:
                old.leaves = {}

    def _hook_sampler(self, loader: Any) -> Callable[[], None]:
        name = "sampler" if loader.batch_sampler is None else "batch_sampler"
        sampler, batches = getattr(loader, name), self

        class Followed:
            """The sampler; everything but its iteration is its own."""

            def __iter__(self) -> Iterator[Any]:
                queue = batches._queue
                return batches._drawn(iter(sampler), queue)

            def __len__(self) -> int:
                return len(sampler)

            def __getattr__(self, name: str) -> Any:
                return getattr(sampler, name)

        # A DataLoader forbids setting its samplers after construction, so the instance's dict is written.
        loader.__dict__[name] = followed = Followed()

        def undo() -> None:
            if loader.__dict__.get(name) is followed:
                loader.__dict__[name] = sampler

        return undo

    def _drawn(self, draws: Iterator[Any], queue: deque[Any]) -> Iterator[Any]:
        for indices in draws:
            queue.append(indices)
            yield indices

    def _hook_iteration(self, loader: Any) -> Callable[[], None]:
        kind, batches = type(loader), self

        def iterate(self: Any) -> Any:
            return batches.iterated(lambda: kind.__iter__(self))

        return with_methods(loader, {"__iter__": iterate})

    def iterated(self, begin: Callable[[], Any]) -> Any:
        """Begin an iteration of the loader, and return its iterator, which is followed."""
        queue: deque[Any] = deque()
        self._began(queue)
        return self._followed(begin(), queue)

    def _followed(self, iterator: Any, queue: deque[Any]) -> Any:
        """Follow an iteration, through a class of its own or, where that is impossible, a generator around it."""
        kind = type(iterator)

        def following(self: Any, own: Any = None) -> Any:
            batches._queue = queue  # a lazy iteration draws from the sampler only now
            batch = kind.__next__(self)
            batches._gave(batch, queue)
            return batch

        def around() -> Iterator[Any]:
            while True:
                try:
                    batch = following(iterator)
                except StopIteration:
                    return
                yield batch

        batches = self
        try:
            with_methods(iterator, {"__next__": following})
        except TypeError:
            return around()
        return iterator
