"""One leaf of the JAX parameters, and the torch tensors or rows of tensors that it is made of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from torch_bridge.weights.operation import Operation

Array = npt.NDArray[Any]
Rows = tuple[int, int]


@dataclass(frozen=True)
class Term:
    """A torch tensor, or some of its rows, and the rows that they fill.

    Attributes:
        tensor: its name.
        rows: first row and the one after the last; None for the whole tensor.
        at: where they lie in what the operation is applied to; None if they fill it. Terms on the same rows are added.
    """

    tensor: str
    rows: Rows | None = None
    at: Rows | None = None

    def __str__(self) -> str:
        """Return the term as in NumPy: ``name[0:8]``."""
        return self.tensor if self.rows is None else f"{self.tensor}[{self.rows[0]}:{self.rows[1]}]"


@dataclass(frozen=True)
class Pair:
    """A leaf, and how it is made of torch's tensors: ``leaf = operation(terms)``.

    Attributes:
        leaf: its number in the flattened JAX parameters.
        path: its path, joined with slashes.
        terms: what it is made of.
        operation: from torch's layout into JAX's.
        by: how the pair was found: ``"values"``, ``"names"``, ``"shape"``, ``"override"``, ...
    """

    leaf: int
    path: str
    terms: tuple[Term, ...]
    operation: Operation
    by: str = ""

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names of the tensors in it."""
        return tuple(dict.fromkeys(term.tensor for term in self.terms))

    @property
    def is_sum(self) -> bool:
        """True if two tensors are added in it."""
        return (
            len({term.at for term in self.terms}) < len(self.terms) or len({term.at is None for term in self.terms}) > 1
        )

    @property
    def source(self) -> str:
        """What the operation is applied to, as text: ``a[0:4] + b[0:4], a[4:8]``."""
        places: dict[Rows | None, list[str]] = {}
        for term in self.terms:
            places.setdefault(term.at, []).append(str(term))
        return ", ".join(" + ".join(terms) for terms in places.values())

    def to_leaf(self, named: Mapping[str, Array]) -> Array:
        """Return the leaf made of the tensors.

        Raises:
            KeyError: a tensor is missing.
            ValueError: a tensor has another shape.
        """
        parts = [(term.at, named[term.tensor][_slice(term.rows)]) for term in self.terms]
        shape = self.operation.shape
        if len(parts) == 1 and parts[0][0] is None:
            whole = parts[0][1]
        else:
            whole, filled = np.zeros(shape, parts[0][1].dtype), np.zeros(shape[:1], bool)
            for at, part in parts:
                rows = _slice(at)
                # The first is stored, not added to zero, so that -0.0 stays what it is.
                whole[rows] = whole[rows] + part if filled[rows].any() else part
                filled[rows] = True
        if whole.shape != shape:
            raise ValueError(f"{self.source!r} has shape {whole.shape}, but {self.path!r} is made of {shape}: {self}")
        return self.operation.apply(whole)

    def to_tensors(self, leaf: Array) -> Iterator[tuple[Term, Array]]:
        """Return the terms that a leaf holds; of a sum the first is all of it, the others are zeros.

        Raises:
            ValueError: the leaf has another shape.
        """
        if leaf.shape != self.operation.result:
            raise ValueError(
                f"{self.path!r} has shape {leaf.shape}, but it was mapped as {self.operation.result}: {self}"
            )
        whole = self.operation.undo(leaf)
        taken = np.zeros(whole.shape[:1], bool)
        for term in self.terms:
            rows = _slice(term.at)
            part = whole[rows]
            yield term, np.zeros_like(part) if taken.ndim and taken[rows].any() else part
            if taken.ndim:
                taken[rows] = True

    def __str__(self) -> str:
        """Return the pair as one line."""
        return f"{self.path} = {self.source}, {self.operation}"


def _slice(rows: Rows | None) -> Any:
    return ... if rows is None else slice(*rows)
