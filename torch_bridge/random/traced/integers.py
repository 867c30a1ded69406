"""Integers in a compiled program."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from torch_bridge.random.dtypes import Shape, as_shape, element_count
from torch_bridge.random.integers import WIDE_RANGE
from torch_bridge.random.traced.mersenne_twister import TracedState, draw_32


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def draw_integers(state: TracedState, low: int, high: int, shape: Shape) -> tuple[jax.Array, TracedState]:
    """Draw integers in ``[low, high)``; see `torch_bridge.random.draw_integers`.

    Args:
        state: where the stream stands.
        low: least value, a Python integer.
        high: bound above, likewise; both inside int32.
        shape: of the result, a tuple.

    Returns:
        int32 array and the next state.

    Raises:
        RuntimeError: ``low >= high``, with torch's message.
        ValueError: a bound outside int32.

    Exactness: bitwise.
    """
    if not (low >= -(2**31) and high <= 2**31):
        raise ValueError(f"only int32 is drawn in a compiled program, but got low={low} and high={high}")
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    count, width = element_count(shape), high - low
    if width < WIDE_RANGE:
        words, state = draw_32(state, count)
        offsets = words % jnp.uint32(width)
    else:
        words, state = draw_32(state, 2 * count)
        offsets = _wide_remainder(words[::2], words[1::2], width)
    values = lax.bitcast_convert_type(offsets + jnp.uint32(low % 2**32), jnp.int32)
    return values.reshape(as_shape(shape)), state


def _wide_remainder(high: jax.Array, low: jax.Array, width: int) -> jax.Array:
    """``(high * 2**32 + low) mod width`` in 32-bit arithmetic, by long division, one bit of `low` at a time."""
    if width == 2**32:
        return low
    divisor = jnp.uint32(width)

    def next_bit(i: jax.Array, remainder: jax.Array) -> jax.Array:
        carry = remainder >> 31  # the bit that doubling pushes out
        doubled = (remainder << 1) | ((low >> (31 - i).astype(jnp.uint32)) & 1)
        return jnp.where((carry == 1) | (doubled >= divisor), doubled - divisor, doubled)

    remainder: jax.Array = lax.fori_loop(0, 32, next_bit, high % divisor)
    return remainder
