"""A fused multiply-add that no compiler can take away, because none of its steps can be done in another way.

The product of two float32 numbers is exact in float64, so that its sum with a third is the same whether fused or not.
The sum is then rounded to odd, which keeps the cast to float32 from being a second rounding. Where no wider dtype
exists, in float64, the product is split into two numbers whose sum it is exactly.

Source: S. Boldo and G. Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to
odd", IEEE Transactions on Computers 57 (2008); T. J. Dekker, "A floating-point technique for extending the available
precision", Numerische Mathematik 18 (1971).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funcsgd.arithmetic.marks import rounded

_LOW_HALF = (1 << 27) - 1  # of the 53 bits of a double's significand


@jax.custom_jvp
def fma(a: jax.Array, b: jax.Array, c: jax.Array) -> jax.Array:
    """``fl(a * b + c)`` in one rounding, under every transformation, eagerly, and in JAX's 32-bit mode.

    Args:
        a: array of float32 or float64, any shape.
        b: array of the same dtype; shapes broadcast.
        c: likewise.

    Returns:
        Shape of the broadcast, dtype of the arguments. The derivative is that of ``a * b + c``.

    Exactness: bitwise, by construction, for float32 results that are zero or not subnormal (XLA's CPU backend takes
    subnormals for zeros); for float64 where products and sums lie between 1e-270 and 1e270 too: outside, the compiler's
    own ``a * b + c``.

    Example:
        >>> import jax.numpy as jnp
        >>> a = jnp.float32(1 + 2**-12)  # a * a = 1 + 2**-11 + 2**-24
        >>> float(fma(a, a, -jnp.float32(1 + 2**-11))) == 2**-24
        True
    """
    if a.dtype == jnp.float64:
        sum_of_parts = add_parts(*_parts_of_double(a, b), c)
        plain = a * b + c
        size = jnp.abs(sum_of_parts)
        product = jnp.abs(a * b)
        safe = (size < 1e270) & (product < 1e270) & (product > 1e-270)
        return jnp.where(safe, sum_of_parts, plain)
    with jax.enable_x64(True):
        return _rounded_once(_double(a) * _double(b), _double(c), a.dtype)


@fma.defjvp
def _fma_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[jax.Array, jax.Array]:
    (a, b, c), (a_dot, b_dot, c_dot) = primals, tangents
    return fma(a, b, c), a_dot * b + a * b_dot + c_dot


def product_parts(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The product as two numbers of its own dtype: ``fl(a * b)``, and what that rounding left over.

    Args:
        a: array of float32 or float64, any shape.
        b: array of the same dtype; shapes broadcast.

    Returns:
        ``(high, low)`` with ``high + low == a * b`` exactly, where ``low`` is not subnormal.
    """
    if a.dtype == jnp.float64:
        return _parts_of_double(a, b)
    with jax.enable_x64(True):
        product = _double(a) * _double(b)
        high = lax.convert_element_type(product, a.dtype)
        # Only through an integer operation is this the rounded number: XLA takes a cast back and forth for no cast.
        rest = product - _double(rounded(high))
        return high, lax.convert_element_type(rest, a.dtype)


def add_parts(high: jax.Array, low: jax.Array, c: jax.Array) -> jax.Array:
    """``fl(c + (high + low))`` in one rounding, for the two parts of a product or of a difference."""
    if high.dtype == jnp.float64:
        total, rest = _total_and_rest(high, low, c)
        return total + rest
    with jax.enable_x64(True):
        return _rounded_once(*_total_and_rest(_double(high), _double(low), _double(c)), high.dtype)


def _total_and_rest(high: jax.Array, low: jax.Array, c: jax.Array) -> tuple[jax.Array, jax.Array]:
    small, small_error = _two_sum(c, low)
    total, error = _two_sum(high, small)
    return total, _to_odd(*_two_sum(small_error, error))


def difference_parts(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``a - b`` as two numbers of its own dtype: ``fl(a - b)``, and what that rounding left over; 0 if not finite.

    Args:
        a: array of float32 or float64, any shape; `rounded` if it is a product in the same program.
        b: likewise.
    """
    high, low = _two_sum(a, -b)
    return high, jnp.where(jnp.isfinite(high), low, 0)


def _rounded_once(product: jax.Array, c: jax.Array, dtype: Any) -> jax.Array:
    return lax.convert_element_type(_to_odd(*_two_sum(product, c)), dtype)


def _two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``fl(a + b)`` and the error of it, exactly: six additions, none of which a compiler may leave out."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def _to_odd(total: jax.Array, error: jax.Array) -> jax.Array:
    """The odd one of the two doubles that enclose ``total + error``; ``total`` if it is exact or infinite."""
    bits = lax.bitcast_convert_type(total, jnp.int64)
    apart = (lax.bitcast_convert_type(error, jnp.int64) ^ bits) >> 63  # -1 where the error points to zero, 0 elsewhere
    return lax.bitcast_convert_type(jnp.where(jnp.abs(error) > 0, (bits + apart) | 1, bits), jnp.float64)


def _parts_of_double(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    high = rounded(a * b)  # on its own, not fused into the difference below
    return high, a_low * b_low - (((high - a_high * b_high) - a_low * b_high) - a_high * b_low)


def _halves(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The two halves of a significand; products of halves are exact."""
    bits = lax.bitcast_convert_type(x, jnp.uint64) + jnp.asarray((_LOW_HALF + 1) // 2, jnp.uint64)
    high = lax.bitcast_convert_type(bits & jnp.asarray(~_LOW_HALF & (2**64 - 1), jnp.uint64), jnp.float64)
    return high, x - high


def _double(x: jax.Array) -> jax.Array:
    return lax.convert_element_type(x, jnp.float64)
