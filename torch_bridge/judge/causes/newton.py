"""Constants that make a residual smallest, by Gauss and Newton: one, or several at once."""

from collections.abc import Callable, Sequence

import numpy as np

from torch_bridge.judge.findings import norm
from torch_bridge.trace.trace import Array

_ROUNDS = 12
_HALVINGS = 3
_STEP = 1e-5  # relative, for derivatives: Newton's method converges by this factor a round
_ENOUGH = 1e-6  # a fit that leaves so little is the one


def fitted(residual: Callable[[float], Array], starts: Sequence[float]) -> float | None:
    """Return the constant that makes a residual smallest, by Gauss and Newton from each start; None if it moves none.

    Args:
        residual: of the constant, an array of float64.
        starts: where to begin; the first that leaves next to nothing is taken.
    """
    best: tuple[float, float | None] = (np.inf, None)
    for start in starts:
        c = float(start)
        r = residual(c)

        def at(c: float, shape: tuple[int, ...] = r.shape) -> Array:
            """The residual; infinite where the constant leaves other quantities unknown than at the start."""
            found = residual(c)
            return found if found.shape == shape else np.full(shape, np.inf)

        for _ in range(_ROUNDS):
            size = norm(r)
            if size < best[0]:
                best = size, c
            h = _STEP * abs(c) if c else _STEP**2
            d = (at(c + h) - r) / h
            slope = float(np.sum(d * d))
            if not 0 < slope < np.inf:
                break
            step = float(np.sum(d * r)) / slope
            for _ in range(_HALVINGS):  # a step that goes too far is shortened
                r = at(c - step)
                if norm(r) < size:
                    break
                step /= 4
            if not norm(r) < 0.99 * size:
                best = (norm(r), c - step) if norm(r) < best[0] else best
                break
            c -= step
        if best[0] < _ENOUGH:
            break
    return best[1] if best[0] < np.inf else None


def fitted_together(residual: Callable[[Sequence[float]], Array], start: Sequence[float]) -> list[float]:
    """Return the constants that make a residual smallest, from where they nearly do.

    Args:
        residual: of the constants, an array of float64.
        start: where to begin.
    """
    best, r = list(start), residual(start)
    for _ in range(_ROUNDS):
        columns = []
        for k, c in enumerate(best):
            h = _STEP * abs(c) if c else _STEP**2
            moved = residual([*best[:k], c + h, *best[k + 1 :]])
            if moved.shape != r.shape:
                return best
            columns.append((moved - r) / h)
        matrix = np.stack(columns, axis=1)
        if not np.isfinite(matrix).all() or not np.isfinite(r).all():
            break
        change, *_ = np.linalg.lstsq(matrix, -r, rcond=None)
        further = [c + float(d) for c, d in zip(best, change, strict=True)]
        then = residual(further)
        if then.shape != r.shape or not norm(then) < norm(r):
            break
        little = norm(then) > 0.99 * norm(r)
        best, r = further, then
        if little:
            break
    return best
