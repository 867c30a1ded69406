"""Normal float32 numbers in a compiled program.

`_log` and `_sin_cos` are the altered Cephes polynomials of `torch_bridge.random.cephes`, written for JAX; see NOTICE.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import DTypeLike

from funcsgd.arithmetic import rounded
from torch_bridge.random import cephes
from torch_bridge.random.dtypes import Shape, as_shape, element_count
from torch_bridge.random.normal_numbers import BLOCK
from torch_bridge.random.traced.mersenne_twister import TracedState, draw_32
from torch_bridge.random.traced.uniform import short_dtype, unit


@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4))
def draw_normal(
    state: TracedState, shape: Shape, mean: float = 0.0, std: float = 1.0, dtype: DTypeLike = np.float32
) -> tuple[jax.Array, TracedState]:
    """Draw 16 or more normal numbers; see `torch_bridge.random.draw_normal`.

    Args:
        state: where the stream stands.
        shape: of the result, a tuple.
        mean: the mean, a Python number.
        std: the standard deviation, likewise.
        dtype: float32, bfloat16 or float16.

    Returns:
        The array and the next state.

    Raises:
        ValueError: float64, or fewer than 16 elements: torch draws those in float64, from a pair at a time.
        RuntimeError: a negative ``std``, with torch's message.

    Exactness: bitwise on x86-64 CPUs with FMA; elsewhere the words are equal and the transform is `rounding`.
    """
    dtype = short_dtype(dtype, "normal_kernel_cpu")
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    count = element_count(shape)
    if count < BLOCK:
        raise ValueError(f"fewer than {BLOCK} normals are drawn in float64: draw these {count} on the host")
    whole = count - count % BLOCK
    words, state = draw_32(state, count if dtype == np.float32 else whole)
    values = _transformed(words[:whole], mean, std)
    if whole < count:
        words, state = draw_32(state, BLOCK)
        values = jnp.concatenate([values[: count - BLOCK], _transformed(words, mean, std)])
    return values.astype(dtype).reshape(as_shape(shape)), state


def _transformed(words: jax.Array, mean: float, std: float) -> jax.Array:
    uniforms = unit(words).reshape(-1, 2, BLOCK // 2)
    radius = jnp.sqrt(-2 * _log(1 - uniforms[:, 0]))
    sine, cosine = _sin_cos(rounded(np.float32(2 * math.pi) * uniforms[:, 1]))
    pairs = rounded(jnp.stack([radius * cosine, radius * sine], axis=1))
    return (pairs * np.float32(std) + np.float32(mean)).ravel()


def _log(x: jax.Array) -> jax.Array:
    """`cephes.log`; every ``a * b + c`` left bare here is one that torch's compiler fused, too."""
    bits = lax.bitcast_convert_type(x, jnp.int32)
    exponent = ((bits >> 23) - 126).astype(jnp.float32)
    mantissa = lax.bitcast_convert_type((bits & 0x007FFFFF) | 0x3F000000, jnp.float32)
    below = mantissa < cephes.SQRT_HALF
    exponent = exponent - below.astype(jnp.float32)
    m = (mantissa - 1) + jnp.where(below, mantissa, 0)
    square = rounded(m * m)
    y = rounded(_polynomial(m, cephes.LOG_POLYNOMIAL) * m)
    y = y * square + rounded(exponent * cephes.LOG_2_LOW)
    y = square * np.float32(-0.5) + y
    return exponent * cephes.LOG_2_HIGH + (m + y)


def _sin_cos(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`cephes.sin_cos`, likewise."""
    octant = (x * cephes.FOUR_OVER_PI).astype(jnp.int32)
    octant = (octant + 1) & ~1
    multiple = octant.astype(jnp.float32)
    for part in cephes.QUARTER_PI_PARTS:
        x = multiple * np.float32(-part) + x
    square = rounded(x * x)
    cosine = rounded(_polynomial(square, cephes.COS_POLYNOMIAL) * square)
    cosine = (cosine * square - rounded(square * np.float32(0.5))) + 1
    sine = rounded(_polynomial(square, cephes.SIN_POLYNOMIAL) * square)
    sine = sine * x + x
    swapped = (octant & 2) != 0
    sin_out, cos_out = jnp.where(swapped, cosine, sine), jnp.where(swapped, sine, cosine)
    sin_out = jnp.where((octant & 4) != 0, -sin_out, sin_out)
    cos_out = jnp.where(((octant - 2) & 4) == 0, -cos_out, cos_out)
    return sin_out, cos_out


def _polynomial(x: jax.Array, coefficients: tuple[float, ...]) -> jax.Array:
    y = jnp.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        y = y * x + np.float32(coefficient)
    return y
