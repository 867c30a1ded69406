"""torch's Python floats in JAX: doubles that keep all of their bits, whether or not the 64-bit mode is on.

A scheduler calculates in Python, in float64, for parameters that are mostly float32. What it leaves for the next epoch
must not be rounded in between, and an array in a state is float32 unless the user chose otherwise. So a state holds a
double as two words, and whatever is calculated with it happens inside ``with doubles():``.
"""

from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def doubles() -> AbstractContextManager[Any]:
    """Let float64 be float64 for a few operations, traced or not."""
    state: AbstractContextManager[Any] = jax.enable_x64(True)
    return state


def to_words(x: ArrayLike) -> jax.Array:
    """Return numbers of shape ``s`` as uint32 of shape ``(*s, 2)``: the bits of the doubles that they are.

    Example:
        >>> float(from_words(to_words(0.1))) == 0.1
        True
    """
    with doubles():
        return jax.lax.bitcast_convert_type(jnp.asarray(x, jnp.float64), jnp.uint32)


def from_words(words: ArrayLike) -> jax.Array:
    """Return the float64 array that `to_words` was given."""
    with doubles():
        return jax.lax.bitcast_convert_type(jnp.asarray(words), jnp.float64)


def rounded_words(words: ArrayLike) -> jax.Array:
    """Return the numbers in JAX's default floating dtype: float64 in the 64-bit mode, otherwise rounded to float32."""
    dtype = jnp.result_type(float)
    with doubles():
        return jax.lax.convert_element_type(from_words(words), dtype)
