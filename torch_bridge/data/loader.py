"""Batches in torch's order: ``torch.utils.data.DataLoader``, and every draw that iterating it makes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from typing import Any, cast

import numpy as np

from torch_bridge.data.batch_sampler import BatchPass, BatchSampler, PlainBatchPass, SinglePass
from torch_bridge.data.collate import default_collate
from torch_bridge.data.dataset import gatherer
from torch_bridge.data.sampler import Indices, RandomSampler, Sampler, SequentialSampler, packed, unpacked
from torch_bridge.random import Generator, default_generator

FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers", "collate_fn")


class DataLoader:
    """Batches of a dataset, in the order in which torch gives them.

    ``iter()`` draws a base seed, shuffling or not; the sampler draws with the first batch, or, with workers, already
    in ``iter()``, because torch then asks for ``num_workers * prefetch_factor`` batches ahead. The streams move at the
    same moments here. Workers are threads of this process, which load samples ahead of time; arrays are gathered in
    one call, without them.

    Args:
        dataset: `ArrayDataset`, `FileDataset`, an array, or anything with ``__len__`` and ``__getitem__``.
        batch_size: samples in a batch; None gives single samples, not stacked.
        shuffle: draw by a `RandomSampler`.
        sampler: order of indices: one of ours, or any iterable.
        batch_sampler: batches of indices; excludes the four before it and `drop_last`.
        num_workers: as in torch for the draws; here, threads.
        collate_fn: makes a batch of a list of samples; `default_collate` if not given.
        pin_memory: accepted, without effect.
        drop_last: leave a short last batch out.
        timeout: seconds to wait for a batch of the workers; 0 waits for ever.
        worker_init_fn: must be None: there are no worker processes to prepare.
        multiprocessing_context: accepted, without effect.
        generator: the stream of the base seed, and of the sampler that `shuffle` makes.
        prefetch_factor: batches asked for ahead, per worker; 2 with workers.
        persistent_workers: draw the base seed for the first epoch only, as torch does when it keeps its workers.
        pin_memory_device: accepted, without effect.
        in_order: accepted; batches always come in order.

    Raises:
        ValueError: at construction, with torch's messages, for what torch refuses.

    Exactness: bitwise: the batches' indices, and where every stream stands at every moment.

    Source: ``torch/utils/data/dataloader.py``, torch 2.13.0.

    Differs from torch in: (1) batches are NumPy arrays, or JAX arrays where the dataset is; (2) `LoaderPass.state` and
    `resume`; (3) `index_batches`; (4) datasets without random access (``IterableDataset``) are refused.

    Example:
        >>> import numpy as np
        >>> loader = DataLoader(np.arange(10), batch_size=4, shuffle=True, generator=Generator(0))
        >>> for batch in loader:
        ...     print(batch)
        [3 7 5 2]
        [0 8 1 6]
        [9 4]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        if worker_init_fn is not None:
            raise ValueError("worker_init_fn option needs worker processes, and there are none here")
        if not hasattr(dataset, "__getitem__"):
            raise TypeError(
                "DataLoader needs a dataset with __getitem__: iterable-style datasets have no order to draw"
            )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
        if sampler is None:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn
        self.pin_memory = pin_memory
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self.pin_memory_device = pin_memory_device
        self.in_order = in_order
        self._workers_seed: int | None = None
        self._single = batch_sampler is None
        self._gather = gatherer(dataset) if collate_fn is None else None
        self._ready = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED and hasattr(self, "_ready"):
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    def __len__(self) -> int:
        return len(cast(Sized, self.sampler if self.batch_sampler is None else self.batch_sampler))

    def __iter__(self) -> "LoaderPass":
        return LoaderPass(self)

    def resume(self, state: dict[str, Any]) -> "LoaderPass":
        """Go on with an epoch that `LoaderPass.state` wrote down, at the batch after the last one delivered.

        Sets the default stream, the loader's generator and the sampler's to where they stood.

        Args:
            state: as written, also by another process; this loader must be set up as that one was.

        Returns:
            The rest of the epoch.

        Raises:
            ValueError: the state was written by a loader that was set up in another way.
        """
        return LoaderPass(self, state)

    def index_batches(self, pad: int | None = None) -> Indices:
        """Draw a whole epoch at once, for ``lax.scan`` over its rows.

        The streams move as if the epoch had been iterated to its end.

        Args:
            pad: what to fill a short last batch with.

        Returns:
            int64 array of shape ``(batches, batch_size)``; ``(n,)`` with ``batch_size=None``.

        Raises:
            ValueError: batches of unequal size, and no `pad`.

        Example:
            >>> DataLoader(range(5), batch_size=2).index_batches(pad=-1)
            array([[ 0,  1],
                   [ 2,  3],
                   [ 4, -1]])
        """
        self.draw_base_seed()
        batches = list(self.index_pass())
        width = max((batch.size for batch in batches), default=self.batch_size or 1)
        if any(batch.size < width for batch in batches) and pad is None:
            raise ValueError("the last batch is short: give drop_last=True to the loader or pad= to index_batches")
        if self._single:
            return np.array(batches, np.int64)
        rows = np.full((len(batches), width), 0 if pad is None else pad, np.int64)
        for row, batch in zip(rows, batches, strict=True):
            row[: batch.size] = batch
        return rows

    def load(self, indices: Indices) -> Any:
        """Return the batch of some indices, or, with ``batch_size=None``, the sample of one; draws nothing."""
        if self._single:
            sample = self.dataset[int(indices)]
            if self.collate_fn is not None:
                return self.collate_fn(sample)
            return list(sample) if type(sample) is tuple else sample
        if self._gather is not None:
            return self._gather(indices)
        wanted = indices.tolist()
        if hasattr(self.dataset, "__getitems__"):
            samples = self.dataset.__getitems__(wanted)
        else:
            samples = [self.dataset[i] for i in wanted]
        return (self.collate_fn or default_collate)(samples)

    def draw_base_seed(self) -> int:
        """Draw what torch gives its workers to seed with, as each epoch begins."""
        if self._workers_seed is not None:
            return self._workers_seed
        seed = int((self.generator or default_generator).random())
        if self.persistent_workers:
            self._workers_seed = seed
        return seed

    def index_pass(self, state: dict[str, Any] | None = None) -> BatchPass | SinglePass | PlainBatchPass:
        """Begin a pass over the epoch's indices, or go on with one."""
        if isinstance(self.batch_sampler, BatchSampler):
            return BatchPass(self.batch_sampler, state)
        if self.batch_sampler is not None:
            return PlainBatchPass(self.batch_sampler, state)
        return SinglePass(self.sampler, state)

    def streams(self) -> dict[str, Generator]:
        """Return the generators that an epoch may move."""
        streams = {"default": default_generator}
        if self.generator is not None:
            streams["loader"] = self.generator
        sampler = getattr(self.batch_sampler, "sampler", self.sampler)
        if isinstance(sampler, Sampler) and sampler.generator is not None:
            streams["sampler"] = sampler.generator
        return streams

    def description(self) -> dict[str, Any]:
        """Return what a resumed loader must share with the one that wrote the state."""
        sampler = getattr(self.batch_sampler, "sampler", self.sampler)
        return {
            "samples": len(self.dataset),
            "sampler": type(sampler).__name__,
            "batch_size": getattr(self.batch_sampler, "batch_size", None),
            "drop_last": getattr(self.batch_sampler, "drop_last", False),
            "num_workers": self.num_workers,
            "prefetch_factor": self.prefetch_factor,
            "streams": sorted(self.streams()),
        }


class LoaderPass(Iterator[Any]):
    """One epoch of a `DataLoader`: an iterator over its batches.

    Attributes:
        base_seed: what torch's worker ``w`` would seed ``random`` and ``torch`` with, less ``w``.
        delivered: batches given out so far in this epoch.
    """

    def __init__(self, loader: DataLoader, state: dict[str, Any] | None = None) -> None:
        self._loader = loader
        self._ahead: deque[tuple[Indices, Future[Any] | None]] = deque()  # drawn, not yet given out
        threaded = loader.num_workers > 0 and loader._gather is None
        self._threads = ThreadPoolExecutor(loader.num_workers) if threaded else None
        self._load = loader.load if loader._gather is None or loader._single else loader._gather
        if state is None:
            if loader.num_workers == 0 and loader.timeout != 0:
                raise AssertionError("_SingleProcessDataLoaderIter requires timeout == 0")
            self.base_seed = loader.draw_base_seed()
            self.delivered = 0
            self._indices = loader.index_pass()
            for _ in range(loader.num_workers * (loader.prefetch_factor or 0)):
                self._ask_ahead()
            return
        if state["loader"] != loader.description():
            raise ValueError(f"the state is that of a loader {state['loader']}, but this one is {loader.description()}")
        self.base_seed, self.delivered = state["base_seed"], state["delivered"]
        loader._workers_seed = self.base_seed if loader.persistent_workers else None
        self._indices = loader.index_pass(state["indices"])
        for name, generator in loader.streams().items():
            generator.state = unpacked(state["streams"][name]).state
        for indices in state["ahead"]:
            self._submit(np.array(indices, np.int64))

    def __len__(self) -> int:
        return len(self._loader)

    def __next__(self) -> Any:
        if not self._loader.num_workers:
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
            "loader": self._loader.description(),
            "base_seed": self.base_seed,
            "delivered": self.delivered,
            "indices": self._indices.state(),
            "ahead": [indices.tolist() for indices, _ in self._ahead],
            "streams": {name: packed(generator) for name, generator in self._loader.streams().items()},
        }

    def _ask_ahead(self) -> None:
        indices = next(self._indices, None)
        if indices is not None:
            self._submit(indices)

    def _submit(self, indices: Indices) -> None:
        future = None if self._threads is None else self._threads.submit(self._loader.load, indices)
        self._ahead.append((indices, future))

    def _received(self, indices: Indices, future: Future[Any] | None) -> Any:
        """Wait for a batch and, as torch does before it looks at it, ask for one more."""
        if future is None:
            self._ask_ahead()
            return self._load(indices)
        try:
            future.exception(self._loader.timeout or None)
        except LateError:
            raise RuntimeError(f"DataLoader timed out after {self._loader.timeout} seconds") from None
        self._ask_ahead()
        return future.result()


def _check_workers(num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool) -> None:
    if num_workers < 0:
        raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing."
            "let num_workers > 0 to enable multiprocessing, otherwise set prefetch_factor to None."
        )
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")
