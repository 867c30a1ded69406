"""torch's elementwise operations, with torch's roundings. What rules are made of.

torch computes ``x + alpha * y`` in one rounding (a fused multiply-add) and ``momentum * buffer`` in a rounding of its
own. By default the first is left to the compiler, marked so that it is fused; inside `exact_arithmetic` it is
calculated in operations that leave the compiler no choice. Rules need not know which.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from funcsgd.arithmetic.exact import fma
from funcsgd.arithmetic.marks import hidden, rounded, written
from funcsgd.arithmetic.mode import is_exact
from funcsgd.arithmetic.update import UnroundedUpdate


def compute_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """Return the dtype to calculate in: float32 for bfloat16 and float16, otherwise ``dtype`` itself."""
    return jnp.promote_types(dtype, jnp.float32)


def scaled(x: jax.Array, factor: ArrayLike) -> jax.Array:
    """``fl(x * factor)``: torch's ``x.mul_(factor)``.

    Args:
        x: array of floating or complex dtype, any shape.
        factor: real scalar; a Python number is rounded once to the dtype that is calculated in.

    Returns:
        Shape and dtype of ``x``; the product is rounded before anything is added to it.

    Exactness: bitwise for float32, float64 and the finite values of complex64; bfloat16 and float16 are multiplied
    in float32 and rounded once.
    """
    if jnp.iscomplexobj(x):  # by parts: a complex product would meet the factor's imaginary zero
        return jax.lax.complex(scaled(x.real, factor), scaled(x.imag, factor))
    dtype = compute_dtype(x.dtype)
    return rounded(x.astype(dtype) * jnp.asarray(factor, dtype)).astype(x.dtype)


def divided(x: jax.Array, divisor: ArrayLike) -> jax.Array:
    """``fl(x / divisor)``: torch's ``x.div_(divisor)``.

    XLA replaces the quotient of an array and a scalar by a product with the scalar's reciprocal, which rounds twice.
    Here the divisor takes the sign of each ``x``, so that it is no longer one scalar; division is symmetric in the
    signs, and the sign put back at the end keeps the quotient from any other rewriting.

    Args:
        x: array of floating or complex dtype, any shape.
        divisor: positive real scalar; rounded once to the dtype that is calculated in.

    Returns:
        Shape and dtype of ``x``.

    Exactness: bitwise for float32, float64 and the finite values of complex64; bfloat16 and float16 are divided in
    float32 and rounded once.
    """
    if jnp.iscomplexobj(x):
        return jax.lax.complex(divided(x.real, divisor), divided(x.imag, divisor))
    dtype = compute_dtype(x.dtype)
    negative, divisor = jnp.signbit(x), jnp.asarray(divisor, dtype)
    quotient = x.astype(dtype) / jnp.where(negative, -divisor, divisor)
    return jnp.where(negative, -quotient, quotient).astype(x.dtype)


def add(x: jax.Array, y: jax.Array, *, alpha: ArrayLike) -> jax.Array:
    """``fl(x + alpha * y)``: torch's ``torch.add(x, y, alpha=alpha)``, one rounding.

    Both terms are taken as torch takes them, as values that stand in memory: if ``x`` or ``y`` is itself a product
    in the same compiled program, that product is rounded first.

    Args:
        x: array of floating or complex dtype, any shape; its dtype is the result's.
        y: array of the same shape.
        alpha: real scalar; a Python number is rounded once to the dtype that is calculated in.

    Returns:
        Shape and dtype of ``x``.

    Exactness: bitwise for float32 and float64 under ``jit``. complex64 rounds twice, ``fl(x + fl(alpha * y))``, by
    parts, as torch does for values not viewed as real. bfloat16 and float16 are calculated in float32 and rounded
    once; torch rounds ``alpha`` to the low precision first and treats the last ``n % 32`` elements differently.
    """
    return add_to_rounded(rounded(x), y, alpha=alpha)


def add_to_rounded(x: jax.Array, y: jax.Array, *, alpha: ArrayLike) -> jax.Array:
    """`add` for an ``x`` that is `rounded` already: a second mark would cost a second instruction."""
    if jnp.iscomplexobj(x):
        return x + scaled(y, alpha)
    dtype = compute_dtype(x.dtype)
    wide, y, factor = x.astype(dtype), y.astype(dtype), jnp.asarray(alpha, dtype)
    if _vanishes(alpha):
        total = wide + rounded(y) * factor
    elif is_exact():
        total = fma(rounded(y), factor, wide)
    else:
        total = wide + hidden(y, wide, isinstance(alpha, int | float)) * factor
    return total.astype(x.dtype)


def addcmul(x: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """``fl(x + a * b)``: torch's ``torch.addcmul(x, a, b)``, one rounding.

    Args:
        x: array of float32 or float64, any shape; not itself a product in the same program, or `rounded`.
        a: array of the same dtype and shape, of which the same holds.
        b: array of the same dtype and shape.

    Returns:
        Shape and dtype of ``x``.

    Exactness: bitwise for float32 and float64 under ``jit``.
    """
    # The mark keeps LLVM from multiplying a whole row at once, out of reach of the sums to be fused with.
    return jnp.asarray(fma(a, b, x)) if is_exact() else x + a * rounded(b)


def step(direction: jax.Array, step_size: ArrayLike, params: jax.Array | None) -> jax.Array | UnroundedUpdate:
    """``step_size * direction``, for ``optax.apply_updates`` to add to the parameters in the same rounding.

    Args:
        direction: array of real floating dtype, any shape, often the result of other operations in the program.
        step_size: real scalar; a Python number is rounded once to the dtype that is calculated in.
        params: array of the same shape, what the product is going to be added to; None if it is not known, which the
            compiler may answer with two roundings where the direction is a choice or a broadcast.

    Returns:
        An array of the shape of ``direction``, in the dtype that is calculated in: a product left bare, which the
        compiler fuses into the sum. Inside `exact_arithmetic` an `UnroundedUpdate`.

    Exactness: as `add`.
    """
    dtype = compute_dtype(direction.dtype)
    direction, factor = direction.astype(dtype), jnp.asarray(step_size, dtype)
    if is_exact():
        return UnroundedUpdate.product(rounded(direction), factor)
    if _vanishes(step_size):
        return rounded(direction) * factor
    number = isinstance(step_size, int | float)
    if params is None:
        # Were d = c * g, XLA would reassociate (c * g) * alpha into g * (c * alpha).
        return (written(direction) if number else rounded(direction)) * factor
    return hidden(direction, params.astype(dtype), number) * factor


def _vanishes(factor: ArrayLike) -> bool:
    """A factor that compilers leave out: the product is then no product any more."""
    return isinstance(factor, int | float) and abs(factor) == 1
