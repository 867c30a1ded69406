"""Uniform float32 numbers in a compiled program."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike

from funcsgd.arithmetic import rounded
from torch_bridge.random.dtypes import Shape, as_shape, element_count, floating_dtype
from torch_bridge.random.fma import two_sum
from torch_bridge.random.traced.mersenne_twister import TracedState, draw_32
from torch_bridge.random.uniform import check_bounds


@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4))
def draw_uniform(
    state: TracedState, shape: Shape, low: float = 0.0, high: float = 1.0, dtype: DTypeLike = np.float32
) -> tuple[jax.Array, TracedState]:
    """Draw uniform numbers in ``[low, high)``; see `torch_bridge.random.draw_uniform`.

    Args:
        state: where the stream stands.
        shape: of the result, a tuple.
        low: least value, a Python number.
        high: bound above, likewise.
        dtype: float32, bfloat16 or float16.

    Returns:
        The array and the next state.

    Raises:
        ValueError: float64.
        RuntimeError: bad bounds, with torch's messages.

    Exactness: bitwise to torch on a CPU with FMA, whatever the compiler here makes of ``a * b + c``, for bounds at
    least 2**-75 apart.
    """
    dtype = short_dtype(dtype, "check_uniform_bounds")
    check_bounds(low, high, dtype)
    words, state = draw_32(state, element_count(shape))
    low32, high32 = np.float32(low), np.float32(high)
    values = unit(words) if (low, high) == (0, 1) else _stretched(words, high32 - low32, low32)
    values = values.astype(dtype)
    values = jnp.where(values == jnp.asarray(high, dtype), jnp.asarray(low, dtype), values)
    return values.reshape(as_shape(shape)), state


def unit(words: jax.Array) -> jax.Array:
    """Turn words into float32 numbers in ``[0, 1)``."""
    return jnp.asarray(words & jnp.uint32(2**24 - 1), jnp.float32) * np.float32(2**-24)


def _stretched(words: jax.Array, width: np.float32, low: np.float32) -> jax.Array:
    """``fl(unit * width + low)``, rounded once.

    A compiler that fuses products with sums as a rule need not do it everywhere, so nothing here depends on it: the
    halves' products are exact, fused or not. The equation is that of `torch_bridge.random.fma.fma64`.
    """
    upper = jnp.asarray((words >> 12) & jnp.uint32(2**12 - 1), jnp.float32) * np.float32(2**-12)
    lower = jnp.asarray(words & jnp.uint32(2**12 - 1), jnp.float32) * np.float32(2**-24)
    width_upper = np.array(width.view(np.uint32) & np.uint32(0xFFFFF000)).view(np.float32)[()]
    width_lower = width - width_upper
    product = rounded(unit(words) * width)
    error = lower * width_lower - (((product - upper * width_upper) - lower * width_upper) - upper * width_lower)
    high, rest_low = two_sum(error, jnp.full_like(error, low))
    total, rest_high = two_sum(product, high)
    stretched: jax.Array = total + _sum_to_odd(rest_high, rest_low)
    return stretched


def _sum_to_odd(x: jax.Array, y: jax.Array) -> jax.Array:
    """``x + y``; if inexact, whichever of its two neighbours has an odd last bit."""
    total, rest = two_sum(x, y)
    bits = jax.lax.bitcast_convert_type(total, jnp.int32)
    inexact_even = (rest != 0) & (bits & 1 == 0)
    step = jnp.where((rest > 0) == (total > 0), 1, -1)
    return jax.lax.bitcast_convert_type(jnp.where(inexact_even, bits + step, bits), jnp.float32)


def short_dtype(dtype: DTypeLike, kernel: str) -> np.dtype[Any]:
    """Return a floating dtype of at most 32 bits, or raise."""
    dtype = floating_dtype(dtype, kernel)
    if dtype == np.float64:
        raise ValueError("float64 numbers are drawn on the host")
    return dtype
