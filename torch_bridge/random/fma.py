"""Fused multiply-add in NumPy: ``a * b + c`` with one rounding, for float32 and float64 arrays."""

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

SPLITTER = 2.0**27 + 1  # Veltkamp: cuts a float64 into two halves of 26 bits
LARGE, SMALL = 2.0**995, 2.0**-960  # between them neither the split nor the product's error term leaves the range


def fma32(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> NDArray[np.float32]:
    """``fl(a * b + c)`` in float32, rounded once.

    The product of two float32 numbers is exact in float64; the sum is rounded there, and rounding that once more
    to float32 is right unless the float64 sum lies exactly between two float32 numbers. Only those, one in 2**29,
    and results below float32's normal range, are calculated again.

    Args:
        a: float32 array or scalar.
        b: float32 array or scalar, broadcast against `a`.
        c: float32 array or scalar, broadcast against both.

    Returns:
        float32 array of the broadcast shape.

    Exactness: bitwise equal to the hardware instruction.

    Example:
        >>> x = np.float32(1 + 2**-12)
        >>> float(fma32(x, x, -1 - 2**-11)) == 2**-24  # the product alone would round this away
        True
    """
    with np.errstate(all="ignore"):
        product = np.multiply(a, b, dtype=np.float64)
        addend = np.asarray(c, np.float64)
        total = np.asarray(product + addend)
        result = total.astype(np.float32)
    bits = total.view(np.int64)
    undecided = ((bits & 0x1FFFFFFF) == 0x10000000) | (np.abs(total) < 2.0**-126)
    if undecided.any():
        product, addend = np.broadcast_arrays(product, addend)
        odd = _sum_to_odd(product[undecided], addend[undecided])
        with np.errstate(under="ignore"):
            result = np.atleast_1d(result)
            result[np.atleast_1d(undecided)] = odd.astype(np.float32)
            result = result.reshape(total.shape)
    return result


def fma64(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> NDArray[np.float64]:
    """``fl(a * b + c)`` in float64, rounded once.

    Equation (Boldo and Melquiond)::

        product + error = a * b               exactly, by Dekker's splitting
        high + low = error + c                exactly, by Knuth's sum
        total + rest = product + high         likewise
        result = total + odd(rest + low)      odd: a rounding that leaves a trace of what it dropped

    Args:
        a: float64 array or scalar.
        b: float64 array or scalar, broadcast against `a`.
        c: float64 array or scalar, broadcast against both.

    Returns:
        float64 array of the broadcast shape.

    Exactness: bitwise equal to the hardware instruction. Where the equation's terms could leave float64's range
    (an operand above 2**995, a product below 2**-960), that element is calculated in rational numbers.

    Source: S. Boldo and G. Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using
    rounding to odd", IEEE Transactions on Computers 57(4), 2008; T. J. Dekker, Numerische Mathematik 18, 1971.

    Example:
        >>> x = 1 + 2**-30
        >>> float(fma64(x, x, -1 - 2**-29)) == 2**-60
        True
    """
    a, b, c = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64), np.asarray(c, np.float64))
    with np.errstate(all="ignore"):
        product = a * b
        error = _product_error(a, b, product)
        high, low = two_sum(error, c)
        total, rest = two_sum(product, high)
        result = np.asarray(total + _sum_to_odd(rest, low))
        # A product that is exactly zero needs no care but for the sign of zero, which plain arithmetic has right.
        zero = (a == 0) | (b == 0)
        result = np.asarray(np.where(zero, product + c, result))
        inside = (np.abs(a) < LARGE) & (np.abs(b) < LARGE) & (np.abs(c) < LARGE) & (np.abs(product) < LARGE)
        inside &= zero | (np.abs(product) > SMALL)
        # An exact cancellation is +0; the sum of a zero total and a zero remainder may come out as -0.
        result = np.asarray(np.where((result == 0) & ~zero, 0.0, result))
    if not inside.all():
        result = np.array(result)
        for i in np.argwhere(~inside):
            at = tuple(i)
            result[at] = _rational_fma(float(a[at]), float(b[at]), float(c[at]))
    return result


def two_sum(x: Any, y: Any) -> tuple[Any, Any]:
    """``fl(x + y)`` and, exactly, what that rounding dropped; of NumPy's arrays or JAX's."""
    total = x + y
    back = total - x
    return total, (x - (total - back)) + (y - back)


def _product_error(a: NDArray[np.float64], b: NDArray[np.float64], product: NDArray[np.float64]) -> NDArray[np.float64]:
    """``a * b - product``, exactly."""
    shifted = SPLITTER * a
    a_high = shifted - (shifted - a)
    shifted = SPLITTER * b
    b_high = shifted - (shifted - b)
    a_low, b_low = a - a_high, b - b_high
    return a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def _sum_to_odd(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """``x + y``; if inexact, whichever of its two neighbours has an odd last bit."""
    total, rest = two_sum(x, y)
    bits = np.asarray(total).view(np.int64)
    inexact_even = (rest != 0) & ((bits & 1) == 0) & np.isfinite(total)
    away_from_zero = (rest > 0) == (total > 0)
    return np.where(inexact_even, bits + np.where(away_from_zero, 1, -1), bits).view(np.float64)


def _rational_fma(a: float, b: float, c: float) -> float:
    if not (np.isfinite(a) and np.isfinite(b)):
        return a * b + c
    if not np.isfinite(c):
        return c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c if a == 0 or b == 0 else 0.0
    try:
        rounded = float(exact)
    except OverflowError:
        rounded = float("inf")
    return float(np.copysign(rounded, 1.0 if exact > 0 else -1.0))
