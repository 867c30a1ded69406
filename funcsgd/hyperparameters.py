"""Hyperparameters: their types, their checks, and their values at a step.

A hyperparameter is a Python number, a 0-d array (a tracer too, so that ``vmap`` and ``inject_hyperparams`` work),
or a schedule: a function of the number of updates made so far. Python numbers stay Python numbers until they are
combined with the parameters, so that arithmetic such as ``1 - dampening`` happens in float64 before one cast, as in
torch.
"""

from typing import TypeAlias

import jax
import numpy as np
import optax
from jax.typing import ArrayLike

Hyperparameter: TypeAlias = ArrayLike | optax.Schedule


def value_at(hyperparameter: Hyperparameter, count: jax.Array) -> ArrayLike:
    """Return the value in force at update ``count`` (from 0); anything but a schedule is its own value."""
    return hyperparameter(count) if callable(hyperparameter) else hyperparameter


def is_zero(hyperparameter: Hyperparameter) -> bool:
    """Return True for a Python zero: the only value known to be zero before tracing."""
    return isinstance(hyperparameter, int | float) and hyperparameter == 0


def check_nonnegative(message: str, hyperparameter: Hyperparameter) -> None:
    """Raise ``ValueError(f"{message}: {value}")`` for a negative number; NaN passes, as it does in torch.

    Args:
        message: torch's words, such as ``"Invalid learning rate"``.
        hyperparameter: schedules and tracers are not checked: their values are not known yet.
    """
    value = _concrete(hyperparameter)
    if value is not None and value < 0.0:
        raise ValueError(f"{message}: {hyperparameter}")


def check_at_least_zero(message: str, hyperparameter: Hyperparameter) -> None:
    """`check_nonnegative`, but NaN is refused too: torch's Adam tests ``not 0.0 <= x``."""
    value = _concrete(hyperparameter)
    if value is not None and not value >= 0.0:
        raise ValueError(f"{message}: {hyperparameter}")


def check_beta(message: str, hyperparameter: Hyperparameter) -> None:
    """Raise ``ValueError(f"{message}: {value}")`` for a number outside [0, 1), and for NaN."""
    value = _concrete(hyperparameter)
    if value is not None and not 0.0 <= value < 1.0:
        raise ValueError(f"{message}: {hyperparameter}")


def check_unit_interval(message: str, hyperparameter: Hyperparameter) -> None:
    """Raise ValueError, with the value put into ``message``, for a number outside [0, 1]; NaN passes, as in torch."""
    value = _concrete(hyperparameter)
    if value is not None and (value < 0.0 or value > 1.0):
        raise ValueError(message.format(hyperparameter))


def check_nesterov(momentum: Hyperparameter, dampening: Hyperparameter) -> None:
    """Raise torch's ValueError unless Nesterov momentum has a positive momentum and zero dampening."""
    beta, tau = _concrete(momentum), _concrete(dampening)
    if (beta is not None and beta <= 0) or (tau is not None and tau != 0):
        raise ValueError("Nesterov momentum requires a momentum and zero dampening")


def check_etas(etas: tuple[ArrayLike, ArrayLike]) -> None:
    """Raise torch's ValueError unless the first is in (0, 1) and the second above 1; tracers are not checked."""
    smaller, larger = map(_concrete, etas)
    if smaller is not None and larger is not None and not 0.0 < smaller < 1.0 < larger:
        raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")


def check_scalar(name: str, hyperparameter: Hyperparameter) -> None:
    """Raise ValueError for an array of other than one element."""
    shape = getattr(hyperparameter, "shape", ())
    if int(np.prod(shape)) != 1:
        raise ValueError(
            f"Tensor {name} must be 1-element, but has shape {tuple(shape)}; to run several at once, vmap over it"
        )


def _concrete(hyperparameter: Hyperparameter) -> float | None:
    """The number, or None where only a schedule or a tracer is known."""
    if callable(hyperparameter) or isinstance(hyperparameter, jax.core.Tracer):
        return None
    return float(np.asarray(hyperparameter).reshape(()))
