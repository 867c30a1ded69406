"""One pass over an order of indices: drawn piece by piece when torch draws, left and taken up again anywhere."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from torch_bridge.data.replayed import Replayed
from torch_bridge.data.stored import packed, unpacked
from torch_bridge.random import Generator, State, default_generator

Indices = NDArray[np.int64]


class Pass(Protocol):
    """One pass over an order of indices that can be left and taken up again."""

    def take(self, count: int) -> Indices:
        """Return the next `count` indices, fewer at the end, drawing no earlier than they are needed."""
        ...

    def state(self) -> dict[str, Any]:
        """Return where the pass stands, for JSON."""
        ...


class Sampler(ABC):
    """An order of indices, drawn in pieces: a permutation, a block of 32, all of it.

    A subclass defines where its numbers come from and what its pieces are; when they are drawn is the same for all: the
    first with the first index, each other when an index beyond the last piece is needed.
    """

    generator: Generator | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of indices in a pass."""

    @abstractmethod
    def piece(self, number: int, source: Generator) -> Indices | None:
        """Draw a pass's piece of that number, from 0; None: the pass ends."""

    def source(self) -> Generator:
        """Return the generator of a new pass."""
        return default_generator if self.generator is None else self.generator

    def __iter__(self) -> "SamplerPass":
        return SamplerPass(self)


class SamplerPass:
    """One pass over a `Sampler`.

    Args:
        sampler: what draws the pieces.
        state: of an earlier pass, to go on with it. The streams that the pass shares with others must already stand
            where they stood then.
    """

    def __init__(self, sampler: Sampler, state: dict[str, Any] | None = None) -> None:
        self._sampler = sampler
        self._source: Generator | None = None
        self._before: State | None = None  # where the source stood before the present piece
        self._number = 0
        self._offset = 0
        self._piece = np.empty(0, np.int64)
        self._finished = False
        if state is not None and state["number"]:
            self._number, self._offset, self._finished = state["number"], state["offset"], state["finished"]
            self._before = unpacked(state["before"])
            redrawn = sampler.piece(self._number - 1, _generator(self._before))
            self._piece = np.empty(0, np.int64) if redrawn is None else redrawn
            own = _generator(unpacked(state["source"])) if state["source"] else None
            self._source = own or sampler.generator or default_generator

    def __iter__(self) -> "SamplerPass":
        return self

    def __next__(self) -> int:
        index = self.take(1)
        if not index.size:
            raise StopIteration
        return int(index[0])

    def take(self, count: int) -> Indices:
        """See `Pass`."""
        if self._offset + count <= len(self._piece):
            self._offset += count
            return self._piece[self._offset - count : self._offset]
        taken = [self._piece[self._offset :]]
        missing = count - len(taken[0])
        self._offset += len(taken[0])
        while missing and not self._finished:
            self._draw()
            taken.append(self._piece[:missing])
            self._offset = len(taken[-1])
            missing -= self._offset
        return np.concatenate(taken)

    def state(self) -> dict[str, Any]:
        """See `Pass`. The present piece is kept as the state that it was drawn from."""
        own = None if self._source in (self._sampler.generator, default_generator) else self._source
        return {
            "number": self._number,
            "offset": self._offset,
            "finished": self._finished,
            "before": "" if self._before is None else packed(self._before),
            "source": "" if own is None else packed(own.state),
        }

    def _draw(self) -> None:
        if self._source is None:
            self._source = self._sampler.source()
        self._before = self._source.state
        piece = self._sampler.piece(self._number, self._source)
        self._number += 1
        self._finished = piece is None
        self._piece = np.empty(0, np.int64) if piece is None else piece


class PlainPass:
    """One pass over any iterable of indices; see `Replayed`."""

    def __init__(self, indices: Iterable[int], state: dict[str, Any] | None = None) -> None:
        self._items = Replayed(indices, state)

    def take(self, count: int) -> Indices:
        """See `Pass`."""
        return np.array(list(islice(self._items, count)), np.int64)

    def state(self) -> dict[str, Any]:
        """See `Pass`."""
        return self._items.state()


def new_pass(indices: Iterable[int], state: dict[str, Any] | None = None) -> Pass:
    """Begin a pass, or go on with one, over a sampler of ours or any other iterable of indices."""
    if isinstance(indices, Sampler) and type(indices).__iter__ is Sampler.__iter__:
        return SamplerPass(indices, state)
    return PlainPass(indices, state)


def _generator(state: State) -> Generator:
    generator = Generator()
    generator.state = state
    return generator
