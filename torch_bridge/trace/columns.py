"""A quantity over the steps of a run, read when it is asked for."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numpy.lib.mixins import NDArrayOperatorsMixin

from torch_bridge.trace.index import View

Array = npt.NDArray[Any]
K = TypeVar("K")
V = TypeVar("V")

LARGEST = 2**30
"""Bytes of a column from which on it is not stacked into one array if the trace itself is not as large."""


class Column(NDArrayOperatorsMixin):
    """One quantity at all of some steps: a sequence of arrays, and an array of shape ``(n, *shape)`` to NumPy.

    ``column[t]`` and slices read only these steps; every other use as an array reads all. Steps that lack the quantity
    are zero, and a shorter last batch is padded with -1.
    """

    def __init__(self, view: View, room: str, key: str, steps: Array) -> None:
        """See the class.

        Args:
            view: of the run.
            room: of the quantity's values, or of its digests or norms.
            key: of the quantity.
            steps: the numbers of the steps that are the rows.
        """
        self._view, self._room, self._key, self._steps = view, room, key, steps

    def at_step(self, step: int) -> Array | None:
        """Return the value at a step by its number, as it was recorded; None if the step lacks it."""
        return self._view.value(self._room, self._key, step)

    @cached_property
    def _is_ragged(self) -> bool:
        return len(np.unique(self._shapes, axis=0)) > 1

    @cached_property
    def _shapes(self) -> Array:
        present = self._steps[self._view.steps_with(self._room, self._key)[self._steps]]
        if not len(present):  # nothing but digests was kept
            return np.zeros((1, 0), np.int64)
        return self._view.shapes(self._room, self._key, present)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements."""
        return self._view.dtype(self._room, self._key) or np.dtype(np.float64)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """``(n, *shape)``."""
        return (len(self._steps), *(int(n) for n in self._shapes.max(axis=0)))

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many elements there are."""
        return int(np.prod([int(n) for n in self.shape], dtype=object))

    @property
    def nbytes(self) -> int:
        """How many bytes the elements are."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[Array]:
        return (self._row(int(step)) for step in self._steps)

    def __getitem__(self, index: Any) -> Any:
        first, rest = (index[0], index[1:]) if isinstance(index, tuple) and index else (index, ())
        if isinstance(first, int | np.integer) and not isinstance(first, bool):
            row = self._row(int(self._steps[first]))
            return row[rest] if rest or row.ndim == 0 else row
        if isinstance(first, slice):
            rows = np.asarray(Column(self._view, self._room, self._key, self._steps[first]))
            whole: tuple[Any, ...] = (slice(None), *rest)
            return rows[whole]
        return np.asarray(self)[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("a column of a trace is read from its file, which makes an array of its own")
        if self.nbytes > max(LARGEST, 10 * self._view.n_bytes):
            raise ValueError(
                f"{self._key} over {len(self)} steps is {self.nbytes} bytes, more than the trace: take it step by step"
            )
        rows = np.full(self.shape, self._padding, self.dtype)
        for row, step in enumerate(self._steps):
            value = self.at_step(int(step))
            if value is not None:
                place: tuple[Any, ...] = (row, *(slice(n) for n in value.shape))
                rows[place] = value
        return rows if dtype is None else rows.astype(dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return getattr(ufunc, method)(*(np.asarray(x) if isinstance(x, Column) else x for x in inputs), **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(np.asarray(self), name)  # tolist, reshape, mean, ...

    def __repr__(self) -> str:
        return f"<{self._key}: {self.dtype} {self.shape}>"

    @property
    def _padding(self) -> Any:
        """What stands behind a shorter last batch: -1, in unsigned types the largest number."""
        return np.array(-1 if self._is_ragged else 0).astype(self.dtype)

    def _row(self, step: int) -> Array:
        value = self.at_step(step)
        shape = self.shape[1:]
        if value is not None and value.shape == shape:
            return value
        row = np.full(shape, 0 if value is None else self._padding, self.dtype)
        if value is not None:
            row[tuple(slice(n) for n in value.shape)] = value
        return row


class Lazy(Mapping[K, V]):
    """A mapping whose values are made when they are asked for."""

    def __init__(self, keys: Iterable[K], make: Callable[[K], V], keep: bool = True) -> None:
        """See the class.

        Args:
            keys: of the mapping, in their order.
            make: from a key to its value.
            keep: whether a value is made once.
        """
        self._keys, self._make = dict.fromkeys(keys), make
        self._made: dict[K, V] | None = {} if keep else None

    def __getitem__(self, key: K) -> V:
        if self._made is not None and key in self._made:
            return self._made[key]
        if key not in self._keys:
            raise KeyError(key)
        value = self._make(key)
        if self._made is not None:
            self._made[key] = value
        return value

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[K]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
