"""The rounding envelope: how far rounding alone would have moved a run, and where a run leaves it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from torch_bridge.parity.trace import Array

CHANCE = 1e-3
"""The chance that a correct port leaves its envelope anywhere in a run: a level of significance, not a tolerance."""


def distance(reference: Array, candidate: Array) -> float:
    """Return the 2-norm of the difference, in float64; 0 where both are empty, inf if only one of them is finite."""
    left, right = _wide(reference), _wide(candidate)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.where(same, 0.0, np.abs(left - right))
    return float(np.inf if np.isnan(gap).any() else np.sqrt(np.sum(gap**2)))


def one_ulp(reference: Array) -> float:
    """Return the distance by which ``reference`` would move if each of its elements moved by one ulp."""
    if not np.issubdtype(np.asarray(reference).real.dtype, np.inexact) and reference.dtype.name != "bfloat16":
        return 0.0
    return float(np.sqrt(np.sum(np.abs(_wide(np.spacing(np.abs(np.asarray(reference)) + 0))) ** 2)))


def _wide(array: Array) -> Array:
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
        whole run, over all steps and quantities, is at most `CHANCE`.
        """
        tests = sum(rows.shape[0] for rows in self.distances.values())
        limits = {}
        for key, rows in self.distances.items():
            floor = self.floors[key]
            tiny = np.finfo(np.float64).tiny
            logs = np.log(np.maximum(rows, np.maximum(floor, tiny)[:, None]))
            n = logs.shape[1]
            spread = logs.std(axis=1, ddof=1) * np.sqrt(1 + 1 / n)
            limits[key] = np.exp(logs.mean(axis=1) + stats.t.isf(CHANCE / tests, n - 1) * spread)
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
