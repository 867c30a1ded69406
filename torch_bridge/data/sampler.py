"""Orders of indices: torch's samplers, which draw when torch's draw and stand still between."""

import base64
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence, Sized
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from torch_bridge.random import Generator, default_generator

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

    A subclass says where its numbers come from and what its pieces are; when they are drawn is the same for all: the
    first with the first index, each other when an index beyond the last piece is asked for.
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
        self._before = ""  # the source's state before the present piece
        self._number = 0
        self._offset = 0
        self._piece = np.empty(0, np.int64)
        self._finished = False
        if state is not None and state["number"]:
            self._number, self._offset, self._finished = state["number"], state["offset"], state["finished"]
            self._before = state["before"]
            redrawn = sampler.piece(self._number - 1, unpacked(self._before))
            self._piece = np.empty(0, np.int64) if redrawn is None else redrawn
            self._source = unpacked(state["source"]) if state["source"] else sampler.generator or default_generator

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
            "before": self._before,
            "source": "" if own is None else packed(own),
        }

    def _draw(self) -> None:
        if self._source is None:
            self._source = self._sampler.source()
        self._before = packed(self._source)
        piece = self._sampler.piece(self._number, self._source)
        self._number += 1
        self._finished = piece is None
        self._piece = np.empty(0, np.int64) if piece is None else piece


class PlainPass:
    """One pass over any iterable of indices; it is taken up again by dropping what was taken before."""

    def __init__(self, indices: Iterable[int], state: dict[str, Any] | None = None) -> None:
        self._iterator = iter(indices)
        self._taken = 0
        if state is not None:
            self.take(state["taken"])

    def take(self, count: int) -> Indices:
        """See `Pass`."""
        taken = np.array(list(islice(self._iterator, count)), np.int64)
        self._taken += len(taken)
        return taken

    def state(self) -> dict[str, Any]:
        """See `Pass`."""
        return {"taken": self._taken}


def new_pass(indices: Iterable[int], state: dict[str, Any] | None = None) -> Pass:
    """Begin a pass, or go on with one, over a sampler of ours or any other iterable of indices."""
    return SamplerPass(indices, state) if isinstance(indices, Sampler) else PlainPass(indices, state)


def packed(generator: Generator) -> str:
    """Write a generator's 5056 bytes as text."""
    return base64.b64encode(generator.get_state().tobytes()).decode("ascii")


def unpacked(text: str) -> Generator:
    """Read what `packed` wrote into a new generator."""
    return Generator().set_state(base64.b64decode(text))


class SequentialSampler(Sampler):
    """``torch.utils.data.SequentialSampler``: ``0 .. n - 1``.

    Args:
        data_source: anything with a length.

    Exactness: bitwise.
    """

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __len__(self) -> int:
        return len(self.data_source)

    def piece(self, number: int, source: Generator) -> Indices | None:
        """See `Sampler`."""
        return np.arange(len(self.data_source)) if number == 0 else None


class RandomSampler(Sampler):
    """``torch.utils.data.RandomSampler``: permutations, or independent draws with replacement.

    Without a generator a pass draws a seed from the default stream and then goes its own way. Without replacement one
    permutation more is drawn at the end than is used: of the last, the remainder of `num_samples` by the length is
    taken, which is usually nothing. With replacement indices are drawn in blocks of 32.

    Args:
        data_source: anything with a length.
        replacement: whether an index may come again.
        num_samples: indices in a pass; the length of `data_source` if not given. Beyond it, permutations follow one
            another.
        generator: the stream to draw from.

    Raises:
        TypeError: `replacement` is not a bool.
        ValueError: `num_samples` is not a positive integer, or there is nothing to draw from.

    Exactness: bitwise, the times at which the streams move included.

    Source: ``torch/utils/data/sampler.py``, torch 2.13.0.

    Example:
        >>> from torch_bridge.random import Generator
        >>> list(RandomSampler(range(5), generator=Generator(0)))
        [4, 0, 1, 3, 2]
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got replacement={replacement}")
        if not isinstance(self.num_samples, int) or self.num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={self.num_samples}")

    @property
    def num_samples(self) -> int:
        """Indices in a pass."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __len__(self) -> int:
        return self.num_samples

    def source(self) -> Generator:
        """See `Sampler`."""
        if self.generator is not None:
            return self.generator
        return Generator(int(default_generator.random()))

    def piece(self, number: int, source: Generator) -> Indices | None:
        """See `Sampler`."""
        n, total = len(self.data_source), self.num_samples
        if self.replacement:
            # A stream of its own is seen by nobody else, so nobody sees that its blocks are drawn at once.
            block = total if self.generator is None else 32
            if number > total // block:
                return None
            return source.randint(0, n, block if number < total // block else total % block)
        if number > total // n or (number == total // n and total % n == 0 and self.generator is None):
            return None  # of its own stream nobody sees that the last, unused permutation is not drawn
        return source.randperm(n) if number < total // n else source.randperm(n)[: total % n]


class SubsetRandomSampler(Sampler):
    """``torch.utils.data.SubsetRandomSampler``: a permutation of given indices.

    Args:
        indices: sequence of integers.
        generator: the stream to draw from; the default one if not given, without a seed in between.

    Exactness: bitwise.

    Source: ``torch/utils/data/sampler.py``, torch 2.13.0.
    """

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __len__(self) -> int:
        return len(self.indices)

    def piece(self, number: int, source: Generator) -> Indices | None:
        """See `Sampler`."""
        return np.asarray(self.indices, np.int64)[source.randperm(len(self.indices))] if number == 0 else None


class WeightedRandomSampler(Sampler):
    """``torch.utils.data.WeightedRandomSampler``: one ``torch.multinomial`` a pass, in float64.

    Args:
        weights: one non-negative number for each index; they need not sum to 1.
        num_samples: indices in a pass.
        replacement: whether an index may come again.
        generator: the stream to draw from; the default one if not given.

    Raises:
        ValueError: at construction, with torch's messages. What ``multinomial`` refuses, it refuses in the pass.

    Exactness: that of `torch_bridge.random.draw_multinomial`.

    Source: ``torch/utils/data/sampler.py``, torch 2.13.0.
    """

    def __init__(
        self, weights: ArrayLike, num_samples: int, replacement: bool = True, generator: Generator | None = None
    ) -> None:
        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={num_samples}")
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got replacement={replacement}")
        self.weights = np.asarray(weights, np.float64)
        if self.weights.ndim != 1:
            raise ValueError(
                f"weights should be a 1d sequence but given weights have shape {tuple(self.weights.shape)}"
            )
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __len__(self) -> int:
        return self.num_samples

    def piece(self, number: int, source: Generator) -> Indices | None:
        """See `Sampler`."""
        return source.multinomial(self.weights, self.num_samples, self.replacement) if number == 0 else None
