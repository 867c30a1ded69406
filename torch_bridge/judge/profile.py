"""The distances of two runs over steps and quantities, condensed to the size of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from torch_bridge.judge.differences import Quantity
from torch_bridge.trace.phases import name_of, phase_of
from torch_bridge.trace.trace import Array

BINS = 240
"""The number of points a curve has at most; a longer run is divided into so many bins."""

NAMES = 60
"""The number of parameters a map has at most: those with the largest distances."""

DIGITS = 4
"""Significant digits of a distance in a picture."""


@dataclass(frozen=True)
class Curve:
    """The distance in one phase over the run: the smallest and the largest of each bin, over its steps.

    Attributes:
        phase: its name.
        low: of each bin, the smallest of the steps' distances; a step's is the largest of all quantities of the phase.
        high: of each bin, the largest.
    """

    phase: str
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Cell:
    """One quantity over the whole run.

    Attributes:
        phase: its phase.
        name: the parameter or group; empty for a quantity of the whole run.
        distance: the largest relative distance of a step; NaN where only digests were compared and differ.
        first: the first step that differs; None if no bit does.
        steps: how many steps differ.
    """

    phase: str
    name: str
    distance: float
    first: int | None
    steps: int


@dataclass(frozen=True)
class Profile:
    """The distances of two runs. A distance is the 2-norm of the difference over that of torch's value.

    Attributes:
        starts: the first step of each bin.
        curves: one for each phase, in causal order.
        cells: one for each quantity, in causal order; of many parameters those that are furthest apart.
        left_out: how many parameters have no cells.
    """

    starts: tuple[int, ...] = ()
    curves: tuple[Curve, ...] = ()
    cells: tuple[Cell, ...] = ()
    left_out: int = 0


def profile_of(quantities: Sequence[Quantity]) -> Profile:
    """Condense the distances of a comparison.

    Args:
        quantities: as `compare_quantities` returns them.

    Returns:
        A `Profile` whose size does not grow with the run.
    """
    n_steps = max((len(q.distances) for q in quantities), default=0)
    starts = np.unique(np.linspace(0, n_steps, min(BINS, n_steps), endpoint=False).astype(np.int64))
    relative = {q.key: q.relative for q in quantities}
    curves = []
    for phase in dict.fromkeys(phase_of(q.key) for q in quantities):
        rows = [row for key, row in relative.items() if phase_of(key) == phase]
        largest = np.maximum.reduce(rows)  # NaN, a distance that is not known, remains
        low, high = np.minimum.reduceat(largest, starts), np.maximum.reduceat(largest, starts)
        curves.append(Curve(phase, _rounded(low), _rounded(high)))
    names = _furthest(relative)
    cells = [_cell(q, relative[q.key]) for q in quantities if name_of(q.key) in names]
    n_names = len({name_of(key) for key in relative})
    return Profile(tuple(map(int, starts)), tuple(curves), tuple(cells), n_names - len(names))


def _cell(quantity: Quantity, relative: Array) -> Cell:
    differing = quantity.differing_steps
    worst = float(np.max(relative, initial=0.0)) if len(relative) else 0.0
    return Cell(
        phase_of(quantity.key),
        name_of(quantity.key),
        _rounded(np.array([worst]))[0],
        int(differing[0]) if len(differing) else None,
        len(differing),
    )


def _furthest(relative: dict[str, Array]) -> set[str]:
    """The names of the quantities that are furthest apart."""
    distances: dict[str, float] = {}
    for key, row in relative.items():
        worst = float(np.max(np.nan_to_num(row, nan=np.inf), initial=0.0))
        distances[name_of(key)] = max(distances.get(name_of(key), 0.0), worst)
    return set(sorted(distances, key=lambda name: -distances[name])[:NAMES])


def _rounded(values: Array) -> tuple[float, ...]:
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)
