"""A difference put down to changes of a few constants, of which some are held to a size."""

import itertools
from collections.abc import Mapping

import numpy as np

from torch_bridge.judge.findings import norm
from torch_bridge.trace.trace import Array

_COLLINEAR = 1e-14  # directions of the fit below this share of the largest, squared, are left out


def fitted(
    gap: Array, columns: Mapping[str, Array], sizes: Mapping[str, float], most: Mapping[str, float] | None = None
) -> tuple[dict[str, float], float]:
    """Least squares of a gap by columns of norms ``sizes``; the changes, and the norm of what is left.

    No change exceeds ``most`` in size. By normal equations, refined once by the residual: a tall matrix of two or
    three columns is only passed over, where its QR factors would cost as much as the whole step. The residual is that
    of the solution as it stands, so that what was lost to the squared condition counts as unexplained.
    """
    gap = np.ravel(gap)
    if not columns or not np.isfinite(gap).all():
        return {}, norm(gap)
    rows = np.stack([column / sizes[key] for key, column in columns.items()])
    bounds = np.array([np.inf if most is None else most[key] * sizes[key] for key in columns])
    square = rows @ rows.T
    solution, rest = np.zeros(len(rows)), gap
    for _ in range(2):
        solution = solution + _bounded(square, rows @ rest, -bounds - solution, bounds - solution)
        rest = gap - solution @ rows
    return {key: float(x) / sizes[key] for key, x in zip(columns, solution, strict=True)}, norm(rest)


def _bounded(square: Array, target: Array, low: Array, high: Array) -> Array:
    """The x between ``low`` and ``high`` that makes ``x' square x / 2 - target' x`` smallest.

    Two or three constants lie on one side of the box, on the other or between: all of that is tried.
    """
    slack = 1e-12 * np.where(np.isfinite(high - low), high - low, 0.0)
    best, least = np.zeros(len(target)), 0.0
    for sides in itertools.product((None, low, high), repeat=len(target)):
        free = np.array([side is None for side in sides])
        x = np.array([0.0 if side is None else side[i] for i, side in enumerate(sides)])
        if not np.isfinite(x).all():
            continue
        if free.any():
            x[free] = np.linalg.lstsq(square[np.ix_(free, free)], (target - square @ x)[free], rcond=_COLLINEAR)[0]
        if (x < low - slack).any() or (x > high + slack).any():
            continue
        x = np.asarray(np.clip(x, low, high))
        if free.all():
            return x  # what is smallest of all lies between
        if (value := x @ square @ x / 2 - target @ x) < least:
            best, least = x, value
    return best
