"""Batches in torch's order: ``torch.utils.data.DataLoader``, and every draw that iterating it makes."""

from collections.abc import Callable, Iterable, Sized
from typing import Any, cast

from torch_bridge.data.batch_sampler import BatchSampler
from torch_bridge.data.collate import default_collate
from torch_bridge.data.dataset import gatherer
from torch_bridge.data.epoch_order import EpochOrder
from torch_bridge.data.iteration import Indices
from torch_bridge.data.loader_iterator import LoaderIterator, Loading
from torch_bridge.data.sampler import RandomSampler, SequentialSampler
from torch_bridge.random import Generator, check_generator

FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class DataLoader:
    """Batches of a dataset, in the order in which torch gives them.

    ``iter()`` draws a base seed, shuffling or not; the sampler draws with the first batch, or, with workers, already
    in ``iter()``, because torch then requests ``num_workers * prefetch_factor`` batches ahead. The streams move at the
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
        prefetch_factor: batches requested ahead, per worker; 2 with workers.
        persistent_workers: draw the base seed for the first epoch only, as torch does when it keeps its workers.
        pin_memory_device: accepted, without effect.
        in_order: accepted; batches always come in order.

    Raises:
        ValueError: at construction, with torch's messages, for what torch refuses.

    Exactness: bitwise: the batches' indices, and the state of every stream at every moment.

    Source: ``torch/utils/data/dataloader.py``, torch 2.13.0.

    Differs from torch in: (1) batches are NumPy arrays, or JAX arrays where the dataset is; (2)
    `LoaderIterator.state` and `resume`; (3) `index_batches`; (4) datasets without random
    access (``IterableDataset``) are refused.

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
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self.pin_memory_device = pin_memory_device
        self.in_order = in_order
        self._gather = gatherer(dataset)
        self.order = EpochOrder(sampler, batch_sampler, generator, persistent_workers)
        self._ready = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED and hasattr(self, "_ready"):
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    @property
    def generator(self) -> Generator | None:
        """The stream of the base seed. A sampler keeps the one that it was made with."""
        return self.order.generator

    @generator.setter
    def generator(self, generator: Generator | None) -> None:
        check_generator("DataLoader", generator)
        self.order.generator = generator

    def __len__(self) -> int:
        return len(cast(Sized, self.sampler if self.batch_sampler is None else self.batch_sampler))

    def __iter__(self) -> "LoaderIterator":
        return LoaderIterator(self.order, self._loading())

    def resume(self, state: dict[str, Any]) -> "LoaderIterator":
        """Go on with an epoch that `LoaderIterator.state` wrote down, at the batch after the last one delivered.

        Sets the default stream, the loader's generator and the sampler's to where they stood. A sampler or batch
        sampler of your own draws once more what it gave, from where its streams stood: the default one,
        Python's, NumPy's and the generators among its attributes. If it has ``state_dict`` and ``load_state_dict``,
        they are used.

        Args:
            state: as written, also by another process; this loader must be set up as that one was.

        Returns:
            The rest of the epoch.

        Raises:
            ValueError: the state was written by a loader that was set up in another way, or a sampler of your own does
                not give again what it gave.
        """
        return LoaderIterator(self.order, self._loading(), state)

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
        return self.order.whole(pad)

    def load(self, indices: Indices) -> Any:
        """Return the batch of some indices, or, with ``batch_size=None``, the sample of one; draws nothing."""
        if self.order.single:
            sample = self.dataset[int(indices)]
            if self.collate_fn is not None:
                return self.collate_fn(sample)
            return list(sample) if type(sample) is tuple else sample
        if self._gather is not None and self.collate_fn is None:
            return self._gather(indices)
        wanted = indices.tolist()
        if hasattr(self.dataset, "__getitems__"):
            samples = self.dataset.__getitems__(wanted)
        else:
            samples = [self.dataset[i] for i in wanted]
        return (self.collate_fn or default_collate)(samples)

    def _loading(self) -> Loading:
        gather = None if self.order.single or self.collate_fn is not None else self._gather
        return Loading(
            load=gather or self.load,
            samples=len(self.dataset),
            workers=self.num_workers,
            ahead=self.num_workers * (self.prefetch_factor or 0),
            threads=gather is None,
            timeout=self.timeout,
        )


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
