"""Indices in batches: ``torch.utils.data.BatchSampler``."""

from collections.abc import Iterable, Iterator, Sized
from typing import Any, cast

import numpy as np

from torch_bridge.data.iteration import Indices, new_pass
from torch_bridge.data.replayed import Replayed


class BatchSampler:
    """Batches of the indices of another sampler.

    The last batch is short, or, with `drop_last`, drawn and dropped: either way the sampler is drawn from until it
    ends.

    Args:
        sampler: a sampler of ours, or any iterable of indices.
        batch_size: indices in a batch.
        drop_last: whether a short last batch is left out.

    Raises:
        ValueError: with torch's messages.

    Exactness: bitwise, the times at which the sampler draws included.

    Source: ``torch/utils/data/sampler.py``, torch 2.13.0.

    Example:
        >>> list(BatchSampler(range(5), 2, drop_last=False))
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __len__(self) -> int:
        n = len(cast(Sized, self.sampler))
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        return (batch.tolist() for batch in BatchPass(self))


class BatchPass:
    """One pass over the batches of a `BatchSampler`, as arrays; it can be left and taken up again."""

    def __init__(self, batches: BatchSampler, state: dict[str, Any] | None = None) -> None:
        self._size, self._drop_last = batches.batch_size, batches.drop_last
        self._indices = new_pass(batches.sampler, state)

    def __iter__(self) -> "BatchPass":
        return self

    def __next__(self) -> Indices:
        batch = self._indices.take(self._size)
        if len(batch) < self._size and (self._drop_last or not len(batch)):
            raise StopIteration
        return batch

    def state(self) -> dict[str, Any]:
        """Return where the pass stands, for JSON."""
        return self._indices.state()


class SinglePass:
    """One pass over indices that are not batched: ``batch_size=None``."""

    def __init__(self, indices: Iterable[int], state: dict[str, Any] | None = None) -> None:
        self._indices = new_pass(indices, state)

    def __iter__(self) -> "SinglePass":
        return self

    def __next__(self) -> Indices:
        index = self._indices.take(1)
        if not index.size:
            raise StopIteration
        return np.asarray(index[0])

    def state(self) -> dict[str, Any]:
        """Return where the pass stands, for JSON."""
        return self._indices.state()


class PlainBatchPass(Replayed):
    """One pass over any iterable of batches of indices."""

    def __next__(self) -> Indices:
        return np.atleast_1d(np.asarray(super().__next__(), np.int64))
