"""Data sets for a loader: arrays, files, and parts of either."""

import warnings
from collections.abc import Callable, Sequence
from itertools import accumulate
from math import floor, isclose
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from torch_bridge.random import Generator, check_generator, default_generator

LONG_ROW = 256  # elements


class Dataset(Protocol):
    """A map-style dataset: a length, and a sample for each index below it."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """Return a sample."""
        ...


@runtime_checkable
class Gatherable(Protocol):
    """A dataset that makes a whole batch at once."""

    def gather(self, indices: Any) -> Any:
        """Return the batch of these samples, stacked, in the structure that a collated batch has."""
        ...


def gather_rows(array: Any, indices: Any) -> Any:
    """Return the rows of an array, NumPy's or JAX's, as one new array."""
    # NumPy's two ways give the same rows: take has less to prepare, indexing copies long rows faster.
    if isinstance(array, np.ndarray) and array.size < LONG_ROW * len(array):
        return array.take(indices, axis=0)
    return array[indices]


class ArrayDataset:
    """``torch.utils.data.TensorDataset`` over arrays: sample ``i`` is the tuple of their rows ``i``.

    Args:
        *arrays: NumPy or JAX arrays with equal first dimensions.

    Raises:
        AssertionError: unequal first dimensions, with torch's message.

    Example:
        >>> import numpy as np
        >>> ArrayDataset(np.array([1.0, 2.0]), np.array([3, 4]))[1]
        (np.float64(2.0), np.int64(4))
    """

    def __init__(self, *arrays: Any) -> None:
        if any(len(array) != len(arrays[0]) for array in arrays):
            raise AssertionError("Size mismatch between tensors")
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(array[index] for array in self.arrays)

    def gather(self, indices: Any) -> list[Any]:
        """See `Gatherable`; a list, as torch's collation makes of tuples."""
        return [gather_rows(array, indices) for array in self.arrays]


class FileDataset:
    """Samples in files, each read when it is needed.

    Args:
        paths: of the files, one a sample.
        load: turns a path into a sample: an array, or a tuple or dict of arrays and numbers.

    Example:
        >>> import tempfile, pathlib, numpy as np
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> for i in range(3):
        ...     np.save(folder / f"{i}.npy", np.full(2, i))
        >>> FileDataset(sorted(folder.iterdir()), np.load)[2]
        array([2, 2])
    """

    def __init__(self, paths: Sequence[Any], load: Callable[[Any], Any] = np.load) -> None:
        self.paths = list(paths)
        self.load = load

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return self.load(self.paths[index])


class Subset:
    """``torch.utils.data.Subset``: some samples of a dataset, in a given order.

    Args:
        dataset: map-style.
        indices: of the samples.
    """

    def __init__(self, dataset: Any, indices: ArrayLike) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, np.int64)
        gather = gatherer(dataset)
        if gather is not None:
            self.gather = lambda positions: gather(self.indices[np.asarray(positions)])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]


def gatherer(dataset: Any) -> Callable[[Any], Any] | None:
    """Return the function that makes whole batches of a dataset, or None if it has none."""
    if isinstance(dataset, Gatherable):
        return dataset.gather
    if hasattr(dataset, "shape") and hasattr(dataset, "dtype"):  # an array by itself
        return lambda indices: gather_rows(dataset, indices)
    return None


def random_split(
    dataset: Any, lengths: Sequence[float], generator: Generator | None = default_generator
) -> list[Subset]:
    """``torch.utils.data.random_split``: cut a permutation of a dataset into parts.

    Args:
        dataset: map-style, ``n`` samples.
        lengths: integers that sum to ``n``; or fractions that sum to 1, each rounded down, and what is left over goes
            one by one to the parts from the first on. ``[1, 0]`` counts as fractions.
        generator: the stream to draw one permutation from; the default one for None.

    Returns:
        One `Subset` a length.

    Raises:
        ValueError: with torch's messages.

    Warns:
        UserWarning: a fraction of nothing.

    Exactness: bitwise.

    Source: ``torch/utils/data/dataset.py``, torch 2.13.0.

    Example:
        >>> from torch_bridge.random import Generator
        >>> [part.indices.tolist() for part in random_split(range(5), [0.5, 0.5], Generator(0))]
        [[4, 0, 1], [3, 2]]
    """
    check_generator("random_split", generator)
    sizes = [*lengths]
    if isclose(sum(lengths), 1) and sum(lengths) <= 1:
        for i, fraction in enumerate(lengths):
            if not 0 <= fraction <= 1:
                raise ValueError(f"Fraction at index {i} is not between 0 and 1")
        sizes = [floor(len(dataset) * fraction) for fraction in lengths]
        for i in range(len(dataset) - int(sum(sizes))):
            sizes[i % len(sizes)] += 1
        for i, size in enumerate(sizes):
            if size == 0:
                warnings.warn(
                    f"Length of split at index {i} is 0. This might result in an empty dataset.", stacklevel=2
                )
    if sum(sizes) != len(dataset):
        raise ValueError("Sum of input lengths does not equal the length of the input dataset!")
    order = (generator or default_generator).randperm(len(dataset))
    counts = [int(size) for size in sizes]
    return [Subset(dataset, order[end - count : end]) for end, count in zip(accumulate(counts), counts, strict=True)]
