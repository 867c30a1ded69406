"""Adam's bias corrections, calculated as Python calculates them: in float64, with the C library's power."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from funcsgd.arithmetic.float64_words import doubles


def bias_corrections(
    step: jax.Array, learning_rate: jax.Array, beta1: ArrayLike, beta2: ArrayLike
) -> tuple[jax.Array, jax.Array]:
    """Return for each parameter ``learning_rate / (1 - beta1**step)`` and ``(1 - beta2**step)**0.5``.

    Args:
        step: floating array, shape ``(n,)``: the number of gradients that each parameter has had; 0 counts as
            1, so that no result is infinite.
        learning_rate: float64 scalar.
        beta1: number or float64 scalar, in [0, 1).
        beta2: likewise.

    Returns:
        Two float64 arrays of shape ``(n,)``, with and without JAX's 64-bit mode.

    Exactness: bitwise on a CPU, where XLA calls the same C library for a power as Python does.
    """
    with doubles():
        both: tuple[jax.Array, jax.Array] = _bias_corrections(step, learning_rate, beta1, beta2)
    return both


@jax.jit  # one dispatch where it is called eagerly
def _bias_corrections(
    step: jax.Array, learning_rate: jax.Array, beta1: ArrayLike, beta2: ArrayLike
) -> tuple[jax.Array, jax.Array]:
    step = jnp.maximum(step.astype(jnp.float64), 1)
    bias_correction1 = 1 - power(jnp.asarray(beta1, jnp.float64), step)
    bias_correction2 = 1 - power(jnp.asarray(beta2, jnp.float64), step)
    # A power, as in Python. Of a constant 0.5 the compiler would make a root, which has other bits here and there.
    return learning_rate / bias_correction1, power(bias_correction2, not_constant(0.5, step))


def corrections_for(dtypes: Sequence[Any], *corrections: jax.Array) -> list[jax.Array]:
    """Return for each parameter an array of its corrections, rounded to the dtype that it is calculated in.

    Each is gathered, with indices that are an array: then every parameter is given an array of its own, and those of
    one shape share their compiled code. A slice would become part of the loop over the parameter, with its place in
    it, so that 400 parameters compile four times as long.

    Args:
        dtypes: of each parameter.
        *corrections: float64 arrays, shape ``(len(dtypes),)``.

    Returns:
        For each parameter an array of shape ``(len(corrections),)``.
    """
    with doubles():
        arrays: list[jax.Array] = _corrections_for(tuple(dtypes), corrections)
    return arrays


@functools.partial(jax.jit, static_argnums=0)
def _corrections_for(dtypes: tuple[Any, ...], corrections: tuple[jax.Array, ...]) -> list[jax.Array]:
    rows = {dtype: jnp.stack([cast(x, dtype) for x in corrections], axis=1) for dtype in set(dtypes)}
    columns = np.arange(len(corrections), dtype=np.int32)
    return [
        rows[dtype].at[np.full_like(columns, i), columns].get(mode="promise_in_bounds")
        for i, dtype in enumerate(dtypes)
    ]


def cast(x: ArrayLike | None, dtype: Any) -> Any:
    """Round a double once; a Python number is cast in arithmetic with an array, and None stays None."""
    if x is None or isinstance(x, int | float):
        return x
    with doubles():
        return jax.lax.convert_element_type(x, dtype)


def not_constant(x: ArrayLike, beside: jax.Array) -> jax.Array:
    """``x`` as an array that the compiler cannot recognise as one repeated number."""
    return jnp.where(beside != beside, beside, x)


@jax.custom_jvp
def power(x: jax.Array, y: jax.Array) -> jax.Array:
    """``x**y`` of doubles, of the shape of ``y``, with the bits that Python has.

    jax's own derivative of a power makes constants, which are float32 where the 64-bit mode is off.
    """
    with doubles():
        return jnp.power(not_constant(x, y), y)


@power.defjvp
def _power_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (x, y), (dx, dy) = primals, tangents
    with doubles():
        value, base = power(x, y), jnp.broadcast_to(x, y.shape)
        log = jnp.log(jnp.where(base > 0, base, 1))  # 0**y does not depend on a positive y
        return value, jnp.broadcast_to(dx, y.shape) * (y * power(base, y - 1)) + dy * (value * log)
