"""torch's elementwise operations, with torch's roundings. What rules are made of.

torch computes ``x + alpha * y`` in one rounding (a fused multiply-add) and ``momentum * buffer`` in a rounding of its
own. By default the first is left to the compiler, marked so that it is fused; inside `exact_arithmetic` it is
calculated in operations that leave the compiler no choice. Rules do not depend on the choice.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from funcsgd.arithmetic.exact import fma
from funcsgd.arithmetic.marks import hidden, rounded, written
from funcsgd.arithmetic.mode import is_exact
from funcsgd.arithmetic.update import UnroundedUpdate


def compute_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """Return the dtype to calculate in: float32 for bfloat16 and float16, otherwise ``dtype`` itself."""
    return jnp.promote_types(dtype, jnp.float32)


def mul(x: jax.Array, factor: ArrayLike) -> jax.Array:
    """``fl(x * factor)``: torch's ``x.mul_(factor)``.

    Args:
        x: array of floating or complex dtype, any shape.
        factor: real scalar; a Python number is rounded once to the dtype that is calculated in.

    Returns:
        Shape and dtype of ``x``; the product is rounded before anything is added to it.

    Exactness: bitwise for float32, float64 and the finite values of complex64; bfloat16 and float16 are multiplied
    in float32 and rounded once.
    """
    if jnp.iscomplexobj(x):  # by parts: a complex product would involve the factor's imaginary zero
        return jax.lax.complex(mul(x.real, factor), mul(x.imag, factor))
    dtype = compute_dtype(x.dtype)
    return rounded(x.astype(dtype) * jnp.asarray(factor, dtype)).astype(x.dtype)


def div(x: jax.Array, divisor: ArrayLike) -> jax.Array:
    """``fl(x / divisor)``: torch's ``x.div_(divisor)``.

    XLA replaces the quotient of an array and a scalar by a product with the scalar's reciprocal, which rounds twice.
    Here the divisor is chosen element by element, so that it is no longer one scalar: where ``x`` is NaN it is ``x``,
    and so is the quotient in any case.

    Args:
        x: array of floating or complex dtype, any shape.
        divisor: real scalar or array of the same shape; rounded once to the dtype that is calculated in.

    Returns:
        Shape and dtype of ``x``.

    Exactness: bitwise for float32, float64 and the finite values of complex64; bfloat16 and float16 are divided in
    float32 and rounded once.
    """
    if jnp.iscomplexobj(x):
        return jax.lax.complex(div(x.real, divisor), div(x.imag, divisor))
    dtype = compute_dtype(x.dtype)
    wide = x.astype(dtype)
    return (wide / jnp.where(wide != wide, wide, jnp.asarray(divisor, dtype))).astype(x.dtype)


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
        return x + mul(y, alpha)
    dtype = compute_dtype(x.dtype)
    wide, y, factor = x.astype(dtype), y.astype(dtype), jnp.asarray(alpha, dtype)
    if _vanishes(alpha):
        total = wide + rounded(y) * factor
    elif is_exact():
        total = fma(rounded(y), factor, wide)
    else:
        total = wide + hidden(y, wide, isinstance(alpha, int | float)) * factor
    return total.astype(x.dtype)


def addcmul(x: jax.Array, a: jax.Array, b: jax.Array, *, value: ArrayLike = 1) -> jax.Array:
    """``fl(x + fl(value * a) * b)``: torch's ``torch.addcmul(x, a, b, value=value)``.

    Args:
        x: array of real floating dtype, any shape; not itself a product in the same program, or `rounded`.
        a: array of the same dtype and shape; where ``value`` is 1, the same holds.
        b: array of the same dtype and shape.
        value: real scalar; a Python number is rounded once to the dtype that is calculated in.

    Returns:
        Shape and dtype of ``x``.

    Exactness: bitwise for float32 and float64 under ``jit``; bfloat16 and float16 are calculated in float32 and rounded
    once.
    """
    dtype = compute_dtype(x.dtype)
    wide, a, b = x.astype(dtype), a.astype(dtype), b.astype(dtype)
    if not _vanishes(value):
        a = rounded(a * jnp.asarray(value, dtype))
        total = fma(a, rounded(b), wide) if is_exact() else wide + a * hidden(b, wide, constant=False)
    else:
        a = a if value == 1 else -a
        # The mark keeps LLVM from multiplying a whole row at once, out of reach of the sums to be fused with.
        total = jnp.asarray(fma(a, b, wide)) if is_exact() else wide + a * rounded(b)
    return total.astype(x.dtype)


def quotient(a: jax.Array, b: jax.Array, *, value: ArrayLike) -> jax.Array:
    """``fl(fl(value * a) / b)``: what ``torch.addcdiv(x, a, b, value=value)`` adds to ``x``.

    Args:
        a: array of real floating dtype, any shape.
        b: array of the same dtype and shape.
        value: real scalar; a Python number is rounded once to the dtype that is calculated in.

    Returns:
        Shape of ``a``, in the dtype that is calculated in: float32 for bfloat16 and float16.

    Exactness: bitwise for float32 and float64.
    """
    dtype = compute_dtype(a.dtype)
    return div(rounded(a.astype(dtype) * jnp.asarray(value, dtype)), b)


def addcdiv(x: jax.Array, a: jax.Array, b: jax.Array, *, value: ArrayLike = 1) -> jax.Array:
    """``fl(x + fl(fl(value * a) / b))``: torch's ``torch.addcdiv(x, a, b, value=value)``.

    Args:
        x: array of real floating dtype, any shape; not itself a product in the same program, or `rounded`.
        a: array of the same dtype and shape.
        b: likewise.
        value: real scalar; a Python number is rounded once to the dtype that is calculated in.

    Returns:
        Shape and dtype of ``x``.

    Exactness: bitwise for float32 and float64; bfloat16 and float16 are calculated in float32 and rounded once.
    """
    return (x.astype(compute_dtype(x.dtype)) + quotient(a, b, value=value)).astype(x.dtype)


def lerp(start: jax.Array, end: jax.Array, weight: ArrayLike) -> jax.Array:
    """``torch.lerp(start, end, weight)``: from the nearer end, with a fused multiply-add.

    Equation::

        fl(start + weight * fl(end - start))         where |weight| < 0.5
        fl(end + fl(weight - 1) * fl(end - start))   elsewhere

    Args:
        start: array of floating or complex dtype, any shape; not itself a product in the same program, or `rounded`.
        end: array of the same dtype and shape, of which the same holds.
        weight: real scalar; a Python number is rounded once to the dtype that is calculated in.

    Returns:
        Shape and dtype of ``start``.

    Exactness: bitwise for float32 and float64 under ``jit``; complex64 `rounding`; bfloat16 and float16 are calculated
    in float32 and rounded once.
    """
    dtype = compute_dtype(start.dtype)
    wide, end = start.astype(dtype), end.astype(dtype)
    distance = end - wide
    if isinstance(weight, int | float):
        number = np.asarray(weight, wide.real.dtype)
        if abs(number) < 0.5:
            return add(wide, distance, alpha=float(number)).astype(start.dtype)
        return add(end, distance, alpha=float(number - 1)).astype(start.dtype)
    w = jnp.asarray(weight, wide.real.dtype)
    from_start = jnp.abs(w) < 0.5
    near, alpha = jnp.where(from_start, wide, end), jnp.where(from_start, w, w - 1)
    return add(near, distance, alpha=alpha).astype(start.dtype)


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
