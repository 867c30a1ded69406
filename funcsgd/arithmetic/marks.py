"""Marks by which a compiler keeps the roundings that torch has; none of them changes a value.

XLA's CPU compiler leaves it to LLVM to fuse ``a * b + c``, and LLVM fuses a product with the sum that uses it if the
product has no other use and nothing rearranged it before. `rounded` stops that where torch rounds a product on its own;
`hidden` and `written` protect it where torch has one rounding.
"""

import contextlib

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np

from funcsgd.arithmetic.float64_words import doubles
from funcsgd.arithmetic.mode import is_exact

# XLA unrolls a last axis up to SHORT, and since jaxlib 0.12 vectorises over the axis before it. Products and sums are
# then joined to longer vectors by LLVM, which then no longer fuses them, except where nothing but additions and
# multiplications by numbers stands between memory and memory. So there the lightest marks are the best.
SHORT = 16  # with marks as everywhere, 9, 10 and 12 lost bits; 13, 15 and more did not
INTERLEAVES = jaxlib.version.__version_info__ >= (0, 11)


@jax.custom_jvp
def rounded(x: jax.Array) -> jax.Array:
    """Return ``x``, kept out of the compiler's contraction of ``a * b + c`` into one fused multiply-add.

    The value does not change; what changes is that a product is rounded to its dtype before it is added to
    anything. ``optimization_barrier``, ``reduce_precision``, a nested ``jit`` and a bitcast do not stop LLVM's
    contraction; an integer minimum on the bits does, in one instruction. It is not an identity on integers, so no
    compiler can drop it, but it is one on numbers: the single pattern that it changes is a NaN before and after.

    Args:
        x: array of any shape; real or complex floating dtype.

    Returns:
        The same values, shape and dtype. The derivative is the identity.

    Exactness: bitwise under ``jit`` on an x86-64 CPU with FMA (`exactness` checks it on the backend in use).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> a, c = jnp.float32(1 + 2**-12), jnp.float32(-1 - 2**-11)
        >>> float(jax.jit(lambda a, c: rounded(a * a) + c)(a, c))  # the product alone rounds to 1 + 2**-11
        0.0
    """
    if jnp.iscomplexobj(x):
        return jax.lax.complex(rounded(x.real), rounded(x.imag))
    unsigned = jnp.dtype(f"uint{8 * x.dtype.itemsize}")
    # Few operations on purpose: XLA's CPU backend counts them, and splits a loop that it takes for compute-bound over
    # threads however short the loop is, which makes updates of small leaves several times slower.
    all_ones_but_last = jnp.asarray(np.iinfo(unsigned).max - 1, unsigned)
    bits = jnp.minimum(jax.lax.bitcast_convert_type(x, unsigned), all_ones_but_last)
    return jax.lax.bitcast_convert_type(bits, x.dtype)


@rounded.defjvp
def _rounded_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,) = primals
    # The rule is traced where a program is differentiated, which may be outside of the mode that x was made in.
    with doubles() if x.dtype in (np.float64, np.complex128) else contextlib.nullcontext():
        return rounded(x), tangents[0]


def hidden(y: jax.Array, beside: jax.Array, constant: bool) -> jax.Array:
    """Return ``y``, as a factor of a product that is to be fused into its sum with ``beside``, and with nothing else.

    A choice stands in front of the product that depends on the other term, element by element: were that NaN, it would
    be taken. So nothing about ``y`` can be drawn into the product (a constant in one arm of a select, another constant
    factor), and the product cannot be calculated once for several elements, out of reach of their sums, where ``y`` is
    broadcast. A mark of another kind than that of `rounded` keeps it from being shared with a product that is rounded,
    such as the next update's ``momentum * buffer``: a product with two uses is not fused.

    Args:
        y: array of real floating dtype, any shape.
        beside: array of the same dtype and shape, the other term. Where it is NaN, so is the sum, with or without.
        constant: the other factor is a number, and neither 1 nor -1: only used where `INTERLEAVES`.

    Returns:
        ``y``.
    """
    if INTERLEAVES and y.ndim > 1 and y.shape[-1] <= SHORT:
        return written(y) if constant else rounded(y)
    return _apart(jnp.where(beside != beside, beside, y))


@jax.custom_jvp
def _apart(x: jax.Array) -> jax.Array:
    """`rounded` with a signed minimum: to a compiler the two are different numbers, and so is what is made of them."""
    signed = jnp.dtype(f"int{8 * x.dtype.itemsize}")
    largest_but_one = jnp.asarray(np.iinfo(signed).max - 1, signed)
    return jax.lax.bitcast_convert_type(jnp.minimum(jax.lax.bitcast_convert_type(x, signed), largest_but_one), x.dtype)


@_apart.defjvp
def _apart_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    return _apart(primals[0]), tangents[0]


def written(x: jax.Array, beside: jax.Array | None = None) -> jax.Array:
    """Return ``x``, which goes to memory anyway, to be read from there and not to be calculated once more.

    A loop that needs ``x`` may calculate it anew instead of waiting for it. Where a compiler then puts both loops into
    one function, as XLA does with small ones, LLVM shares the product of ``x = c + alpha * y`` between them, and a
    product with two uses is not fused into either sum.

    XLA calculates an array anew where its last operation has one array as its operand, as a cast has: the operation is
    copied into both loops, and then all that is in front of it. The results of `exact_arithmetic` end in a cast. So
    there the last operation is made a choice between two arrays.

    Args:
        x: array of any shape and dtype; part of a state.
        beside: array of the same dtype and shape that was used to calculate ``x``: where it is NaN, so is ``x``. Not
            used for complex arrays, of whose parts one alone may be NaN, and which end in a sum.

    Returns:
        The same.
    """
    if beside is not None and is_exact() and not jnp.iscomplexobj(x):
        x = jnp.where(beside != beside, beside, x)
    return jax.lax.optimization_barrier(x)  # type: ignore[no-untyped-call, no-any-return]
