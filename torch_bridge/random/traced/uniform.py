"""Uniform float32 numbers in a compiled program."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike

from torch_bridge.random.layout import Shape, as_shape, element_count, floating_dtype
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

    Exactness: bitwise on x86-64 CPUs with FMA; for bounds 0 and 1 everywhere, since no rounding is involved.
    """
    dtype = short_dtype(dtype, "check_uniform_bounds")
    check_bounds(low, high, dtype)
    words, state = draw_32(state, element_count(shape))
    low32, high32 = np.float32(low), np.float32(high)
    values = (unit(words) * (high32 - low32) + low32).astype(dtype)  # one rounding: the compiler fuses it
    values = jnp.where(values == jnp.asarray(high, dtype), jnp.asarray(low, dtype), values)
    return values.reshape(as_shape(shape)), state


def unit(words: jax.Array) -> jax.Array:
    """Turn words into float32 numbers in ``[0, 1)``."""
    return jnp.asarray(words & jnp.uint32(2**24 - 1), jnp.float32) * np.float32(2**-24)


def short_dtype(dtype: DTypeLike, kernel: str) -> np.dtype[Any]:
    """Return a floating dtype of at most 32 bits, or raise."""
    dtype = floating_dtype(dtype, kernel)
    if dtype == np.float64:
        raise ValueError("float64 numbers are drawn on the host")
    return dtype
