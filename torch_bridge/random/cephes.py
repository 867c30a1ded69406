"""float32 logarithm, sine and cosine in the arithmetic of torch's vectorised normal kernel.

torch 2.13 fills float32 normals with Stephen L. Moshier's Cephes polynomials, in the arrangement of Giovanni
Garberoglio's avx_mathfun (zlib licence; see NOTICE). The constants are theirs; the code is written anew. Which
products are fused with the following sum is the choice of the compiler that built torch, found by comparing bits.
"""

import numpy as np
from numpy.typing import NDArray

from torch_bridge.random.fma import fma32

Float32 = NDArray[np.float32]

SQRT_HALF = np.float32(0.707106781186547524)
LOG_2_LOW, LOG_2_HIGH = np.float32(-2.12194440e-4), np.float32(0.693359375)  # their sum is log 2; the second is short
LOG_POLYNOMIAL = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
FOUR_OVER_PI = np.float32(1.27323954473516)
QUARTER_PI_PARTS = (0.78515625, 2.4187564849853515625e-4, 3.77489497744594108e-8)  # pi / 4 in three pieces
COS_POLYNOMIAL = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
SIN_POLYNOMIAL = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)


def log(x: Float32) -> Float32:
    """Natural logarithm of positive normal float32 numbers.

    ``x = m * 2**e`` with ``m`` in ``[sqrt(1/2), sqrt(2))``; a polynomial in ``m - 1``, plus ``e * log 2`` in two parts.

    Args:
        x: float32, any shape, positive and normal.

    Returns:
        float32 of the same shape.

    Exactness: bitwise equal to torch's AVX2 and AVX512 builds.
    """
    bits = x.view(np.int32)
    exponent = ((bits >> 23) - 126).astype(np.float32)
    mantissa = ((bits & 0x007FFFFF) | 0x3F000000).view(np.float32)
    below = mantissa < SQRT_HALF
    exponent -= below.astype(np.float32)
    m = mantissa - np.float32(1)
    m += np.where(below, mantissa, np.float32(0))
    square = m * m
    y = _polynomial(m, LOG_POLYNOMIAL) * m
    y = fma32(y, square, exponent * LOG_2_LOW)
    y = fma32(-square, np.float32(0.5), y)
    return fma32(exponent, LOG_2_HIGH, m + y)


def sin_cos(x: Float32) -> tuple[Float32, Float32]:
    """Sine and cosine of non-negative float32 numbers, as far as ``2 pi`` and somewhat beyond.

    The argument is reduced to ``[-pi/4, pi/4]`` by the nearest even multiple of ``pi/4``; the octant decides which of
    two polynomials is the sine, and the signs.

    Args:
        x: float32, any shape, at least 0.

    Returns:
        Two float32 arrays of the same shape.

    Exactness: bitwise equal to torch's AVX2 and AVX512 builds.
    """
    octant = (x * FOUR_OVER_PI).astype(np.int32)  # truncated
    octant = (octant + 1) & ~1
    multiple = octant.astype(np.float32)
    for part in QUARTER_PI_PARTS:
        x = fma32(multiple, np.float32(-part), x)
    square = x * x
    cosine = _polynomial(square, COS_POLYNOMIAL) * square
    cosine = fma32(cosine, square, -(square * np.float32(0.5))) + np.float32(1)
    sine = _polynomial(square, SIN_POLYNOMIAL) * square
    sine = fma32(sine, x, x)
    swapped = (octant & 2) != 0
    # Adding 0 makes a negative zero positive, as the branch-free selection by masks does.
    sin_out = np.where(swapped, cosine, sine) + np.float32(0)
    cos_out = np.where(swapped, sine, cosine) + np.float32(0)
    np.negative(sin_out, out=sin_out, where=(octant & 4) != 0)
    np.negative(cos_out, out=cos_out, where=((octant - 2) & 4) == 0)
    return sin_out, cos_out


def _polynomial(x: Float32, coefficients: tuple[float, ...]) -> Float32:
    """Horner's rule, a fused multiply-add a step."""
    y = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        y = fma32(y, x, np.float32(coefficient))
    return y
