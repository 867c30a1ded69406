"""Which indices an epoch of a loader has, and which draws it makes: all of a `DataLoader` but the loading."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from torch_bridge.data.batch_sampler import BatchPass, BatchSampler, PlainBatchPass, SinglePass
from torch_bridge.data.iteration import Indices, Sampler
from torch_bridge.random import Generator, check_generator, default_generator


class EpochOrder:
    """The order of a loader's epochs.

    Args:
        sampler: order of indices.
        batch_sampler: batches of indices; None: single ones.
        generator: the stream of the base seed; the default one if None.
        seed_once: whether the base seed is drawn for the first epoch only.
    """

    def __init__(
        self,
        sampler: Iterable[int],
        batch_sampler: Iterable[Any] | None,
        generator: Generator | None,
        seed_once: bool,
    ) -> None:
        check_generator("DataLoader", generator)
        self.batch_sampler = batch_sampler
        self.generator = generator
        self.seed_once = seed_once
        self.base_seed: int | None = None  # the one drawn once, if it is
        self._indices = getattr(batch_sampler, "sampler", sampler)
        self._singles = sampler

    @property
    def single(self) -> bool:
        """Whether indices come one by one: ``batch_size=None``."""
        return self.batch_sampler is None

    def draw_base_seed(self) -> int:
        """Draw what torch gives its workers to seed with, as each epoch begins."""
        if self.base_seed is not None:
            return self.base_seed
        seed = int((self.generator or default_generator).random())
        if self.seed_once:
            self.base_seed = seed
        return seed

    def index_pass(self, state: dict[str, Any] | None = None) -> BatchPass | SinglePass | PlainBatchPass:
        """Begin a pass over the epoch's indices, or go on with one."""
        if isinstance(self.batch_sampler, BatchSampler) and type(self.batch_sampler).__iter__ is BatchSampler.__iter__:
            return BatchPass(self.batch_sampler, state)
        if self.batch_sampler is not None:
            return PlainBatchPass(self.batch_sampler, state)
        return SinglePass(self._singles, state)

    def whole(self, pad: int | None) -> Indices:
        """Draw a whole epoch at once; see `torch_bridge.data.DataLoader.index_batches`."""
        self.draw_base_seed()
        batches = list(self.index_pass())
        if self.single:
            return np.array(batches, np.int64)
        width = max((batch.size for batch in batches), default=getattr(self.batch_sampler, "batch_size", 0))
        if any(batch.size < width for batch in batches) and pad is None:
            raise ValueError("the last batch is short: give drop_last=True to the loader or pad= to index_batches")
        rows = np.full((len(batches), width), 0 if pad is None else pad, np.int64)
        for row, batch in zip(rows, batches, strict=True):
            row[: batch.size] = batch
        return rows

    def streams(self) -> dict[str, Generator]:
        """Return the generators that an epoch may move."""
        streams = {"default": default_generator}
        if self.generator is not None:
            streams["loader"] = self.generator
        if isinstance(self._indices, Sampler) and self._indices.generator is not None:
            streams["sampler"] = self._indices.generator
        return streams

    def description(self) -> dict[str, Any]:
        """Return what a resumed loader must share with the one that wrote the state."""
        return {
            "sampler": type(self._indices).__name__,
            "batch_size": getattr(self.batch_sampler, "batch_size", None),
            "drop_last": getattr(self.batch_sampler, "drop_last", False),
            "streams": sorted(self.streams()),
        }
