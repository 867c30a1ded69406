"""The constants of a program, which can be moved while it is evaluated in float64.

A float32 program's constants are float32 numbers, whatever they were before: ``0.07`` as a Python number and
``jnp.float32(0.07)`` are one constant there, and two in float64. So where two programs differ in float64, their
constants are moved, each by a share of its own, until the programs agree. Shares that float32 rounds away mean that the
programs are the same; a larger one is a constant that is wrong, and by how much.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from torch_bridge.judge.findings import HELD, norm
from torch_bridge.trace.trace import Array

MOST = 64
"""The most scalar constants that are fitted; a program with more of them is not searched."""

TOGETHER = 4
"""So many constants are moved at once."""

_SHORT = 12  # a number of so few significant bits was not rounded to float32
_STEP = 1e-5  # relative, for derivatives by central differences: exact to 1e-10 in float64
_ALIKE = 1e-6  # relative: directions so close are one
_ROUNDS = 6  # of Gauss and Newton
_DRAWS = 4
_SAMPLE = 2**12  # elements of a quantity by which constants are fitted; the result is proved on all


class Constants:
    """The floating constants in an evaluation, and how far each is moved.

    Scalars are identified by value and line of source, so that the forward and the backward pass of one line move
    together. An array moves by rounding errors drawn at random, in those elements that may have been rounded: a one-hot
    table or a mask does not move.

    Attributes:
        found: ``(value, line)`` -> position in ``moves``.
        arrays: how many arrays were found.
    """

    def __init__(self, moves: Any = None, noise: Any = 0.0, key: Any = None) -> None:
        """Set how far constants are moved.

        Args:
            moves: float64 ``(MOST,)``, relative; None only lists the constants.
            noise: float64 scalar, the relative size of the rounding errors of arrays.
            key: of their signs, a JAX key.
        """
        self.found: dict[tuple[float, str], int] = {}
        self.arrays = 0
        self._moves, self._noise, self._key = moves, noise, key

    def moved(self, wide: Any, constant: Any, line: str) -> Any:
        """Return a constant's float64 value as it is moved here; note it."""
        if jnp.iscomplexobj(wide):
            return wide
        if jnp.ndim(wide):
            if not (rounded := _may_be_rounded(np.asarray(constant, np.float64))).any():
                return wide
            self.arrays += 1
            if self._moves is None:
                return wide
            key = jax.random.fold_in(self._key, self.arrays)
            signs = jax.random.bernoulli(key, shape=wide.shape).astype(np.float64) * 2 - 1
            return jnp.where(rounded, wide * (1 + self._noise * signs), wide)
        value = float(getattr(constant, "val", constant))
        if not _may_be_rounded(value):
            return wide
        index = self.found.setdefault((value, line), len(self.found))
        return wide if self._moves is None or index >= MOST else wide * (1 + self._moves[index])


def _may_be_rounded(value: Any) -> Any:
    finite = np.isfinite(value)
    return finite & (np.frexp(np.where(finite, value, 0.0))[0] * 2**_SHORT % 1 != 0)


@dataclass(frozen=True)
class Fit:
    """Constants as they would have to be.

    Attributes:
        moves: float64 ``(MOST,)``: the relative change of each.
        constants: the same for those that move, by ``"VALUE at LINE"``.
    """

    moves: Array
    constants: Mapping[str, float]

    @property
    def largest(self) -> float:
        """The largest relative change."""
        return float(np.abs(self.moves).max(initial=0.0))


def fit(
    evaluate: Callable[[Array], Mapping[str, Array]],
    reference: Mapping[str, Array],
    limits: Mapping[str, float],
    found: Mapping[tuple[float, str], int],
) -> Fit | None:
    """Find the fewest constants whose change brings a program to a reference.

    Args:
        evaluate: relative changes of the constants, ``(MOST,)`` -> quantities by key.
        reference: what they should be.
        limits: by key, the distance (2-norm) that counts as none.
        found: the constants, see `Constants`.

    Returns:
        The changes, proved by an evaluation; None if no change of up to `TOGETHER` constants does it.
    """
    if len(found) > MOST:
        return None

    def residual(values: Mapping[str, Array]) -> Array:
        rows = []
        for key, value in values.items():
            stride = 1 + np.size(value) // _SAMPLE
            gap = np.ravel(np.asarray(reference[key], np.float64) - value)[::stride]
            rows.append(gap * (math.sqrt(stride) / max(limits[key], 1e-300)))
        return np.concatenate(rows)

    def column(moves: Array, index: int) -> Array:
        step = np.zeros(MOST)
        step[index] = _STEP
        return np.asarray((residual(evaluate(moves - step)) - residual(evaluate(moves + step))) / (2 * _STEP))

    def agrees(values: Mapping[str, Array]) -> bool:
        return _agree(values, reference, limits)

    moves, chosen = np.zeros(MOST), list[int]()
    values = evaluate(moves)
    columns = {index: column(moves, index) for index in found.values()} if not agrees(values) else {}
    while not agrees(values):
        gap = residual(values)
        sizes = {i: float(np.linalg.norm(column)) for i, column in columns.items() if i not in chosen}
        likely = {i: abs(columns[i] @ gap) / size for i, size in sizes.items() if size}
        if not likely or len(chosen) == TOGETHER or not np.isfinite(gap).all():
            return None
        # Of constants that explain it alike, the one that acts most: a tiny one would have to change by much.
        alike = [i for i in likely if likely[i] >= (1 - _ALIKE) * max(likely.values())]
        chosen.append(max(alike, key=sizes.__getitem__))
        for _ in range(_ROUNDS):
            matrix = np.stack([column(moves, index) for index in chosen], axis=1)
            change, *_ = np.linalg.lstsq(matrix, residual(values), rcond=None)
            moves[chosen] += np.clip(change, -0.5 * (1 + moves[chosen]), 2.0)
            values = evaluate(moves)
            if agrees(values) or np.abs(change).max() < 1e-12:
                break
    return Fit(moves, {_words(*constant): moves[i] for constant, i in found.items() if i in chosen})


def _words(value: float, line: str) -> str:
    return f"{value:.9g}" + (f" at {line.rpartition('/')[2].partition(' (')[0]}" if line else "")


Case = tuple[Callable[..., Mapping[str, Array]], Mapping[str, Array], Mapping[str, float]]
"""One step: ``(moves, noise, draw)`` -> quantities by key, see `Movable`; what they should be; their limits."""


def repaired(cases: Sequence[Case], constants: Constants) -> Fit | None:
    """Find the change of constants that brings a program to the reference in every case.

    Scalars come first, without any allowance. What they do not explain may be the rounding of constant arrays.

    Args:
        cases: the first one is fitted, all are proved.
        constants: those of the program.
    """
    evaluate, reference, limits = cases[0]
    found = fit(evaluate, reference, limits, constants.found)
    if found is not None and _proved(cases, found.moves):
        return found
    if not constants.arrays:
        return None
    widened = [(e, r, _with_rounding(e, limits)) for e, r, limits in cases]
    found = fit(evaluate, reference, widened[0][2], constants.found)
    return found if found is not None and found.largest <= HELD and _proved(widened, found.moves) else None


def _proved(cases: Sequence[Case], moves: Array) -> bool:
    return all(_agree(evaluate(moves), reference, limits) for evaluate, reference, limits in cases)


def _agree(values: Mapping[str, Array], reference: Mapping[str, Array], limits: Mapping[str, float]) -> bool:
    return all(norm(np.asarray(reference[key], np.float64) - value) <= limits[key] for key, value in values.items())


def _with_rounding(evaluate: Callable[..., Mapping[str, Array]], limits: Mapping[str, float]) -> dict[str, float]:
    """Limits, and twice what rounding errors of the constant arrays move each quantity by."""
    start, furthest = evaluate(), dict[str, float]()
    for draw in range(_DRAWS):
        for key, value in evaluate(None, HELD, draw).items():
            furthest[key] = max(furthest.get(key, 0.0), norm(value - start[key]))
    return {key: limit + 2 * furthest.get(key, 0.0) for key, limit in limits.items()}
