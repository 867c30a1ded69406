"""torch's samplers: where their numbers come from, and in what pieces they are drawn."""

from collections.abc import Sequence, Sized

import numpy as np
from numpy.typing import ArrayLike

from torch_bridge.data.iteration import Indices, Sampler
from torch_bridge.random import Generator, check_generator, default_generator


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
        check_generator("RandomSampler", generator)
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
            # A stream of its own has no other reader, so it makes no difference that its blocks are drawn at once.
            block = total if self.generator is None else 32
            if number > total // block:
                return None
            return source.randint(0, n, block if number < total // block else total % block)
        if number > total // n or (number == total // n and total % n == 0 and self.generator is None):
            return None  # in a stream of its own the last, unused permutation makes no difference
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
        check_generator("SubsetRandomSampler", generator)
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
        ValueError: at construction, with torch's messages. What ``multinomial`` rejects raises in the pass.

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
        check_generator("WeightedRandomSampler", generator)
        self.generator = generator

    def __len__(self) -> int:
        return self.num_samples

    def piece(self, number: int, source: Generator) -> Indices | None:
        """See `Sampler`."""
        return source.multinomial(self.weights, self.num_samples, self.replacement) if number == 0 else None
