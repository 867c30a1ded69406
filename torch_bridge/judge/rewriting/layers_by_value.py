"""torch's layers in a program that names none: a value with the same numbers, in whatever order of its axes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch_bridge.judge.rewriting.graph import Value
from torch_bridge.trace.trace import Array

_ALIKE = 1e-9


@dataclass(frozen=True)
class Print:
    """What is left of an array where the order of its elements is not known: size, sums of powers."""

    size: int
    sums: tuple[float, float, float]

    def same(self, other: "Print") -> bool:
        """True if two arrays have the same elements, in some order."""
        largest = max(self.sums[1], 1e-300)
        return self.size == other.size and all(
            abs(a - b) <= _ALIKE * (largest if i < 2 else largest**2 / max(self.size, 1) + abs(a))
            for i, (a, b) in enumerate(zip(self.sums, other.sums, strict=True))
        )


def print_of(array: Array) -> Print:
    """Return the print of an array."""
    x = np.asarray(array, np.float64).ravel()
    return Print(x.size, (float(x.sum()), float(np.abs(x).sum()), float((x * x).sum())))


class LayersByValue:
    """torch's layers in causal order, and which of them a program has among its values."""

    def __init__(self, torchs: Mapping[str, Array], order: Sequence[str]) -> None:
        """Take torch's outputs in float64, by layer; those of a constant sign or of one element are too alike."""
        self.order = [name for name in order if np.size(torchs[name]) > 1 and np.ptp(torchs[name]) > 0]
        self._prints = [print_of(torchs[name]) for name in self.order]

    def found(self, values: Iterable[tuple[Value, Any]], beyond: int = 0) -> dict[int, Value]:
        """Return the layers that are among some values: position in the order -> value.

        Args:
            values: with their arrays.
            beyond: the position from which on layers are sought.
        """
        wanted: dict[int, list[int]] = {}
        for i in range(beyond, len(self.order)):
            wanted.setdefault(self._prints[i].size, []).append(i)
        found: dict[int, Value] = {}
        for value, array in values:
            if not value.floating or value.fixed or np.size(array) not in wanted:
                continue
            mine = print_of(array)
            for i in wanted[mine.size]:
                if self._prints[i].same(mine):
                    found.setdefault(i, value)
        return found
