"""The rounding envelope: how far rounding alone would have moved a run, and where a run leaves it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from torch_bridge.trace.trace import Array

CHANCE = 1e-3
"""The chance that a correct port leaves its envelope anywhere in a run: a level of significance, not a tolerance."""


def distance(reference: Array, candidate: Array) -> float:
    """Return the 2-norm of the difference, in float64; 0 where both are empty, inf if only one of them is finite."""
    left, right = wide(reference), wide(candidate)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.where(same, 0.0, np.abs(left - right))
    return float(np.inf if np.isnan(gap).any() else np.sqrt(np.sum(gap**2)))


def one_ulp(reference: Array) -> float:
    """Return the distance by which ``reference`` would move if each of its elements moved by one ulp."""
    if not np.issubdtype(np.asarray(reference).real.dtype, np.inexact) and reference.dtype.name != "bfloat16":
        return 0.0
    return float(np.sqrt(np.sum(np.abs(wide(np.spacing(np.abs(np.asarray(reference)) + 0))) ** 2)))


def wide(array: Array) -> Array:
    """Return an array in float64 (complex128), where differences of smaller formats are exact."""
    array = np.asarray(array)
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


@dataclass(frozen=True)
class Envelope:
    """Distances between a run and its shadows: the same run with other roundings.

    Attributes:
        distances: ``"phase/name"`` -> float64 ``(n_steps, n_shadows)``, 2-norms.
        floors: ``"phase/name"`` -> float64 ``(n_steps,)``, the distance of one ulp in every element: what a format
            cannot resolve is rounding whatever the shadows did.
    """

    distances: Mapping[str, Array]
    floors: Mapping[str, Array]

    def limits(self) -> dict[str, Array]:
        """Return, for each quantity, the distance at each step that a rounding-only run stays under, ``(n_steps,)``.

        Rounding differences grow by factors, so their logarithms are taken as normal. The limit is the upper end of
        Student's prediction interval for one more run, at a level so small that the chance of any false alarm in the
        whole run, over all steps and quantities, is at most `CHANCE`. The spread is the larger of the step's own and
        the one pooled over the run: a few shadows of a scalar may well fall on the same number by chance.
        """
        level = CHANCE / sum(rows.shape[0] for rows in self.distances.values())
        limits = {}
        for key, rows in self.distances.items():
            floor = np.maximum(self.floors[key], np.finfo(np.float64).tiny)
            logs = np.log(np.maximum(rows, floor[:, None]))
            n_steps, n = logs.shape
            own = logs.std(axis=1, ddof=1)
            pooled = np.sqrt(np.mean(own**2))
            reach = np.maximum(stats.t.isf(level, n - 1) * own, stats.t.isf(level, n_steps * (n - 1)) * pooled)
            with np.errstate(over="ignore"):  # two shadows hardly determine a spread
                limits[key] = np.exp(logs.mean(axis=1) + reach * np.sqrt(1 + 1 / n))
        return limits

    def to_arrays(self) -> dict[str, Array]:
        """Return the envelope as plain arrays, for ``Trace.extra``."""
        arrays = {f"envelope/distance/{key}": rows for key, rows in self.distances.items()}
        return arrays | {f"envelope/floor/{key}": rows for key, rows in self.floors.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> "Envelope | None":
        """Return what `to_arrays` wrote, or None if there is none in ``arrays``."""

        def room(kind: str) -> dict[str, Array]:
            prefix = f"envelope/{kind}/"
            return {key.removeprefix(prefix): rows for key, rows in arrays.items() if key.startswith(prefix)}

        return cls(room("distance"), room("floor")) if room("distance") else None
