"""One epoch of a loader: when batches are requested, which worker loads them, and how to resume."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch_bridge.data.epoch_order import EpochOrder
from torch_bridge.data.iteration import Indices
from torch_bridge.data.stored import packed, unpacked


@dataclass(frozen=True)
class Loading:
    """The settings for loading batches.

    Attributes:
        load: makes a batch of its indices; draws nothing.
        samples: in the dataset.
        workers: as in torch; 0: each batch is requested when it is needed.
        ahead: batches requested in advance.
        threads: whether the workers are threads, or batches are only requested ahead.
        timeout: seconds to wait for a thread; 0: for ever.
    """

    load: Callable[[Indices], Any]
    samples: int
    workers: int
    ahead: int
    threads: bool
    timeout: float


class LoaderIterator(Iterator[Any]):
    """One epoch of a `DataLoader`: an iterator over its batches.

    Args:
        order: of the indices.
        loading: of the batches.
        state: of an earlier pass, to go on with it.

    Attributes:
        base_seed: what torch's worker ``w`` would seed ``random`` and ``torch`` with, less ``w``.
        delivered: batches given out so far in this epoch.
    """

    def __init__(self, order: EpochOrder, loading: Loading, state: dict[str, Any] | None = None) -> None:
        if loading.workers == 0 and loading.timeout != 0:
            raise AssertionError("_SingleProcessDataLoaderIter requires timeout == 0")
        self._order = order
        self._loading = loading
        self._load = loading.load
        self._ahead: deque[tuple[Indices, Future[Any] | None]] = deque()  # drawn, not yet given out
        self._threads = ThreadPoolExecutor(loading.workers) if loading.workers and loading.threads else None
        if state is None:
            self.base_seed = order.draw_base_seed()
            self.delivered = 0
            self._indices = order.index_pass()
            for _ in range(loading.ahead):
                self._request_ahead()
        else:
            self._restore(state)

    def __next__(self) -> Any:
        if not self._loading.workers:
            batch = self._load(next(self._indices))
        else:
            if not self._ahead:
                if self._threads is not None:
                    self._threads.shutdown()
                raise StopIteration
            batch = self._received(*self._ahead.popleft())
        self.delivered += 1
        return batch

    def state(self) -> dict[str, Any]:
        """Write down where the epoch stands, for ``json.dumps`` and `DataLoader.resume`.

        Returns:
            A dict of numbers, strings and lists, a few tens of kilobytes at most: generator states rather than
            permutations.
        """
        return {
            "loader": self._description(),
            "base_seed": self.base_seed,
            "delivered": self.delivered,
            "indices": self._indices.state(),
            "ahead": [indices.tolist() for indices, _ in self._ahead],
            "streams": {name: packed(generator.state) for name, generator in self._order.streams().items()},
        }

    def _description(self) -> dict[str, Any]:
        loading = self._loading
        return self._order.description() | {
            "samples": loading.samples,
            "num_workers": loading.workers,
            "ahead": loading.ahead,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        if state["loader"] != self._description():
            raise ValueError(f"the state is that of a loader {state['loader']}, but this one is {self._description()}")
        self.base_seed, self.delivered = state["base_seed"], state["delivered"]
        self._order.base_seed = self.base_seed if self._order.seed_once else None
        self._indices = self._order.index_pass(state["indices"])
        for name, generator in self._order.streams().items():  # last: a sampler of one's own may have drawn again
            generator.state = unpacked(state["streams"][name])
        for indices in state["ahead"]:
            self._submit(np.array(indices, np.int64))

    def _request_ahead(self) -> None:
        indices = next(self._indices, None)
        if indices is not None:
            self._submit(indices)

    def _submit(self, indices: Indices) -> None:
        future = None if self._threads is None else self._threads.submit(self._load, indices)
        self._ahead.append((indices, future))

    def _received(self, indices: Indices, future: Future[Any] | None) -> Any:
        """Wait for a batch and, as torch does before it returns it, request one more."""
        if future is None:
            self._request_ahead()
            return self._load(indices)
        try:
            future.exception(self._loading.timeout or None)
        except LateError:
            raise RuntimeError(f"DataLoader timed out after {self._loading.timeout} seconds") from None
        self._request_ahead()
        return future.result()
