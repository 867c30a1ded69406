"""The roundings of torch's CPU kernels, kept under XLA, and a canary that says whether they hold here.

torch computes ``x + alpha * y`` in one rounding (a fused multiply-add) and ``momentum * buffer`` in a rounding of
its own. XLA's CPU compiler fuses every ``a * b + c`` it can see under ``jit``, so JAX agrees with torch by itself
except where torch rounds twice. `rounded` is the mark for those places; `written` keeps a fused sum from being shared
out again, and `divided` keeps XLA from multiplying by a reciprocal. There are no other tricks in this library.
"""

from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


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
    return rounded(primals[0]), tangents[0]


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
    dtype = compute_dtype(x.dtype)
    if jnp.iscomplexobj(x):
        return x + scaled(y, alpha)
    return (x.astype(dtype) + bare_product(y.astype(dtype), alpha)).astype(x.dtype)


def bare_product(y: jax.Array, alpha: ArrayLike) -> jax.Array:
    """``alpha * y``, left bare for the compiler to fuse into the sum it is added to; ``y`` itself is rounded first.

    Args:
        y: array of real floating dtype, any shape, often a product in the same program.
        alpha: real scalar; a Python number is rounded once to the dtype of ``y``.

    Returns:
        Shape and dtype of ``y``.
    """
    # Were y = c * g, XLA would reassociate (c * g) * alpha into g * (c * alpha); a barrier, which costs nothing,
    # stops that. A factor of 1 or -1 vanishes and leaves c * g itself to be fused, so there y needs the whole mark, as
    # it does for an array, whose value may turn out to be 1.
    may_vanish = not isinstance(alpha, int | float) or abs(alpha) == 1
    y = rounded(y) if may_vanish else jax.lax.optimization_barrier(y)  # type: ignore[no-untyped-call]
    return y * jnp.asarray(alpha, y.dtype)


def written(x: jax.Array) -> jax.Array:
    """Return ``x``, which goes to memory anyway, to be read from there and not to be calculated once more.

    A loop that needs ``x`` may calculate it anew instead of waiting for it. Where a compiler then puts both loops into
    one function, as XLA does with small ones, LLVM shares the product of ``x = c + alpha * y`` between them, and a
    product with two uses is not fused into either sum.

    Args:
        x: array of any shape and dtype; part of a state.

    Returns:
        The same.
    """
    return jax.lax.optimization_barrier(x)  # type: ignore[no-untyped-call, no-any-return]


class Exactness(NamedTuple):
    """What `exactness` found.

    Attributes:
        bitwise: bits can be promised: both of the next two hold.
        fused: ``a * b + c`` under ``jit`` is one rounding.
        separable: ``rounded(a * b) + c`` under ``jit`` is two roundings.
        backend: the platform that was asked, such as ``"cpu"``.
    """

    bitwise: bool
    fused: bool
    separable: bool
    backend: str

    def __str__(self) -> str:
        if self.bitwise:
            return f"{self.backend}: bitwise"
        causes = []
        if not self.fused:
            causes.append("a * b + c is not compiled to a fused multiply-add")
        if not self.separable:
            causes.append("rounded(a * b) + c is fused all the same")
        return f"{self.backend}: rounding ({'; '.join(causes)})"


def exactness(backend: str | None = None) -> Exactness:
    """Run a tiny canary on a backend and say whether the class `bitwise` can be promised there.

    It asks about one vector. A compiler that fuses there may still fail to in a larger program: the README names what
    is known of jax 0.12.

    Args:
        backend: platform name, such as ``"cpu"`` or ``"gpu"``; None takes JAX's default.

    Returns:
        An `Exactness`; ``exactness().bitwise`` is the short answer, ``str`` of it the long one.

    Raises:
        RuntimeError: JAX has no such backend.

    Example:
        >>> exactness("cpu").backend
        'cpu'
    """
    rng = np.random.default_rng(0)
    # An odd length, so that the vectorised body of the compiled loop and its remainder are both asked. c is close
    # to -a * b: the sum cancels, and what is left is the rounding of the product or, if fused, nothing of it.
    a, b = rng.uniform(1, 2, (2, 67)).astype(np.float32)
    c = -(a * b) * (1 + rng.integers(-4, 5, 67).astype(np.float32) * np.float32(2**-23))
    exact = [Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)) for x, y, z in zip(a, b, c, strict=True)]
    one_rounding = np.array([np.float32(float(value)) for value in exact])  # cancelled: exact in float64
    two_roundings = a * b + c

    device = jax.devices(backend)[0]
    operands = jax.device_put((a, b, c), device)
    fused = np.asarray(jax.jit(lambda a, b, c: a * b + c)(*operands))
    separate = np.asarray(jax.jit(lambda a, b, c: rounded(a * b) + c)(*operands))
    is_fused = bool(np.array_equal(fused, one_rounding))
    is_separable = bool(np.array_equal(separate, two_roundings))
    return Exactness(is_fused and is_separable, is_fused, is_separable, device.platform)
