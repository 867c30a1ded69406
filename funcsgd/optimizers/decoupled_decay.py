"""Decoupled weight decay: the factor on a parameter before its step."""

from typing import Any

import jax
import optax

from funcsgd.arithmetic import by_parts, compute_dtype, mul, rounded
from funcsgd.arithmetic.float64_words import doubles
from funcsgd.hyperparameters import Hyperparameter, is_zero
from funcsgd.observation import observed, shown
from funcsgd.optimizers.bias_correction import cast
from funcsgd.optimizers.held_rate import double_at


def decay_factor(
    learning_rate: jax.Array, weight_decay: Hyperparameter, count: jax.Array, params: optax.Params | None
) -> jax.Array | None:
    """Return ``1 - learning_rate * weight_decay`` in float64; None where the decay is the number 0.

    The decayed parameters are shown to whoever observes (`funcsgd.observing`).
    """
    if is_zero(weight_decay):
        return None
    with doubles():
        decay: jax.Array = 1 - rounded(learning_rate * double_at(weight_decay, count))
    if observed():
        shown("decayed_parameter", jax.tree.map(lambda p: _decayed(p, decay), params))
    return decay


def _decayed(param: jax.Array, decay: jax.Array) -> jax.Array:
    factor: Any = cast(decay, compute_dtype(param.real.dtype))
    decayed: jax.Array = by_parts(lambda real: (mul(real, factor),), param)[0]
    return decayed
