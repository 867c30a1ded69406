"""A scheduler's operations on a learning rate whose value is known only during the run: a few for each epoch.

Where a metric decides about the learning rate as well (`ReduceLROnPlateau`), no table can hold its values. But what
torch's schedulers do with it in an epoch is always the same short piece of arithmetic, and that can be written down
beforehand, by giving the recurrence a number that records the operations applied to it.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.typing import ArrayLike

from funcsgd.arithmetic import div, rounded
from funcsgd.schedules.composition import ChainedScheduler

_PRODUCT, _SUM, _QUOTIENT, _CONSTANT = range(4)

Steps: TypeAlias = tuple[tuple[int, float], ...]
"""The operations on a learning rate in one epoch: kinds of arithmetic and their constants."""

NOTHING: Steps = ((_PRODUCT, 1.0),)
UNDEFINED: Steps = ((_CONSTANT, math.nan),)
"""For epochs beyond those for which the scheduler's operations are known: NaN, rather than a wrong learning rate."""


class Operations(NamedTuple):
    """One scheduler's operations on the learning rate; row ``k`` for the step that leads to epoch ``k``.

    Attributes:
        kinds: int8, shape ``(n + 1, m)``: product with a constant, sum, quotient, or the constant itself.
        constants: float64, shape ``(n + 1, m)``. The last row is that of all later epochs; in those of
            `operations` it does nothing, so that from epoch ``n`` on the learning rate is unchanged.
    """

    kinds: npt.NDArray[np.int8]
    constants: npt.NDArray[np.float64]

    def apply(self, learning_rate: jax.Array, epoch: ArrayLike) -> jax.Array:
        """Return the learning rate after the scheduler's step to ``epoch``; in float64, inside ``doubles()``."""
        row = jnp.clip(jnp.asarray(epoch), 0, len(self.kinds) - 1)
        for kinds, constants in zip(self.kinds.T, self.constants.T, strict=True):
            kind, c = jnp.asarray(kinds)[row], jnp.asarray(constants)[row]
            product_or_sum = jnp.where(kind == _PRODUCT, rounded(learning_rate * c), learning_rate + c)
            other = jnp.where(kind == _QUOTIENT, div(learning_rate, c), c)
            learning_rate = jnp.where(kind <= _SUM, product_or_sum, other)
        return learning_rate


def operations(chained: ChainedScheduler, n: int) -> tuple[float, list[Operations]]:
    """Write down what the schedules in a chain do to their learning rate, each for itself.

    Args:
        chained: of `ChainedScheduler`.
        n: number of epochs, from 1.

    Returns:
        The learning rate of epoch 0, and the `Operations` of each schedule.

    Raises:
        ValueError: ``n`` is less than 1. Besides, what ``table`` raises.
    """
    if n < 1:
        raise ValueError(f"a schedule needs at least one entry, but got n={n}")
    (first,) = chained.table(1)
    with jax.ensure_compile_time_eval():  # so that a user's jax.numpy function is a number inside jit, too
        group = chained.param_group()
        steppers = chained.start(group).children
        done: list[list[Steps]] = [[NOTHING] for _ in steppers]
        for _ in range(1, n):
            for stepper, rows in zip(steppers, done, strict=True):
                group["lr"] = UnknownRate(())
                stepper.step()
                rows.append(steps_of(group["lr"]))
    return float(first), [stacked([*rows, NOTHING]) for rows in done]


class UnknownRate:
    """A learning rate that records the arithmetic applied to it. ``a - b`` is ``a + (-b)``, in every bit."""

    __array_ufunc__ = None  # a NumPy scalar on the left leaves the arithmetic to us

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    def _then(self, kind: int, constant: Any) -> "UnknownRate":
        return UnknownRate((*self.steps, (kind, float(constant))))

    def __mul__(self, other: Any) -> "UnknownRate":
        return self._then(_PRODUCT, other)

    def __add__(self, other: Any) -> "UnknownRate":
        return self._then(_SUM, other)

    def __sub__(self, other: Any) -> "UnknownRate":
        return self._then(_SUM, -other)

    def __truediv__(self, other: Any) -> "UnknownRate":
        return self._then(_QUOTIENT, other)

    __rmul__ = __mul__
    __radd__ = __add__

    def __bool__(self) -> bool:
        raise TypeError("the scheduler's operations depend on the learning rate, which is known only during the run")

    def __eq__(self, other: object) -> bool:
        return bool(self)

    __hash__ = None  # type: ignore[assignment]


def steps_of(left: Any) -> Steps:
    """Return what was done to an `UnknownRate`, or that a number was written over it."""
    return left.steps if isinstance(left, UnknownRate) else ((_CONSTANT, float(left)),)


def stacked(rows: Sequence[Steps]) -> Operations:
    """Return a scheduler's operations, row ``k`` for the step that leads to epoch ``k``, as arrays."""
    width = max(map(len, rows))
    filled = [[*row, *NOTHING * (width - len(row))] for row in rows]
    kinds = [[kind for kind, _ in row] for row in filled]
    constants = [[constant for _, constant in row] for row in filled]
    return Operations(np.array(kinds, np.int8), np.array(constants, np.float64))
