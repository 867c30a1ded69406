"""From a schedule to what an optimizer reads in each step: torch's own values, and epochs turned into steps."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax
from jax.typing import ArrayLike

from funcsgd.schedules.schedule import MomentumSchedule, Schedule


def tabulate(schedule: Schedule | MomentumSchedule, n: int) -> optax.Schedule:
    """Read torch's own values inside ``jit``: ``schedule.table(n)`` as an optax schedule.

    Equation::

        lr = table[clip(count, 0, n - 1)]

    Args:
        schedule: anything with a ``table``, a schedule's ``.momentum`` too.
        n: number of entries, from 1; as many as the run has epochs, or steps if the scheduler is stepped in each.

    Returns:
        A function of an integer array or tracer: float64 where JAX's 64-bit mode is on, otherwise float32 in one
        rounding. Beyond the last entry it stays at the last.

    Raises:
        ValueError: ``n`` is less than 1. Besides, what ``table`` raises.

    Exactness: bitwise: torch's learning rate after one cast to the dtype.

    Example:
        >>> import jax
        >>> from funcsgd.schedules import StepLR
        >>> learning_rate = tabulate(StepLR(0.5, step_size=2, gamma=0.5), 5)
        >>> jax.jit(learning_rate)(3)
        Array(0.25, dtype=float32)
    """
    if n < 1:
        raise ValueError(f"a schedule needs at least one entry, but got n={n}")
    values = schedule.table(n)

    def read(count: ArrayLike) -> jax.Array:
        return entry(values, jnp.clip(jnp.asarray(count), 0, n - 1))

    return read


def entry(values: npt.NDArray[np.float64], index: ArrayLike) -> jax.Array:
    """Return an entry of a table in JAX's default floating dtype.

    The table is cast on the host: JAX keeps the conversion of a NumPy array, and a program that was traced in the
    64-bit mode would leave float64 to one outside of it.

    Args:
        values: the table, shape ``(n,)``.
        index: from 0 to n-1, maybe traced.
    """
    return jnp.asarray(np.asarray(values, jnp.result_type(float)))[index]


def per_epoch(schedule: optax.Schedule, steps_per_epoch: ArrayLike) -> optax.Schedule:
    """Turn a schedule that counts epochs into one that counts steps, as an optimizer does.

    Equation::

        lr = schedule(step // steps_per_epoch)

    Args:
        schedule: any function of the epoch, from 0: of this package, from `tabulate`, or optax's.
        steps_per_epoch: number of updates in an epoch, from 1; the last partial batch counts.

    Returns:
        A function of the number of updates made so far.

    Raises:
        ValueError: ``steps_per_epoch`` is less than 1.

    Exactness: that of ``schedule``.

    Example:
        >>> from funcsgd.schedules import StepLR
        >>> learning_rate = per_epoch(StepLR(0.5, step_size=1, gamma=0.5), steps_per_epoch=100)
        >>> learning_rate(99), learning_rate(100)
        (0.5, 0.25)
    """
    if not isinstance(steps_per_epoch, jax.core.Tracer) and steps_per_epoch < 1:  # type: ignore[operator]
        raise ValueError(f"an epoch has at least one step, but got steps_per_epoch={steps_per_epoch}")

    def at(step: Any) -> Any:
        return schedule(step // steps_per_epoch)

    return at
