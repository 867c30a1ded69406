from fractions import Fraction

import numpy as np
import pytest

from torch_bridge.random.fma import fma32, fma64


def exact_32(value, sign_of_zero):
    """Round a rational number to float32: the nearest, and of two the even one."""
    if value == 0:
        return np.float32(sign_of_zero)
    if abs(value) >= Fraction(2) ** 128 - Fraction(2) ** 103:
        return np.float32(np.inf if value > 0 else -np.inf)
    guess = np.float32(float(value))
    with np.errstate(over="ignore"):
        near = [np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf))]
    near = [x for x in near if np.isfinite(x)]
    best = min(near, key=lambda x: (abs(Fraction(float(x)) - value), int(x.view(np.int32)) & 1))
    return np.copysign(best, np.float32(1 if value > 0 else -1))


def exact_64(value, sign_of_zero):
    if value == 0:
        return np.float64(sign_of_zero)
    try:
        rounded = value.numerator / value.denominator  # Python's division of integers rounds correctly
    except OverflowError:
        rounded = np.inf
    return np.copysign(rounded, 1 if value > 0 else -1)


def operands(dtype, rng, count):
    """Factors of every magnitude, and addends near minus the product, where roundings show."""
    info = np.finfo(dtype)
    span = info.maxexp
    a, b = (np.ldexp(rng.uniform(-2, 2, count), rng.integers(-span, span, count)).astype(dtype) for _ in range(2))
    a[: count // 2], b[: count // 2] = rng.uniform(-2, 2, (2, count // 2)).astype(dtype)
    a[: count // 8] = np.round(a[: count // 8] * 8) / 8  # few bits: many exact ties
    with np.errstate(all="ignore"):
        c = (-(a * b) * (1 + rng.integers(-2, 3, count) * info.eps)).astype(dtype)
        far = rng.random(count) < 0.4
        c[far] = np.ldexp(c[far], rng.integers(-60, 60, far.sum())).astype(dtype)
    c[~np.isfinite(c)] = info.max
    return a, b, c


@pytest.mark.parametrize(("fma", "dtype", "exact"), [(fma32, np.float32, exact_32), (fma64, np.float64, exact_64)])
def test_against_rational_numbers(fma, dtype, exact):
    a, b, c = operands(dtype, np.random.default_rng(0), 20_000)
    with np.errstate(all="ignore"):
        zeros = a * b + c
    actual = fma(a, b, c)
    for i, (x, y, z) in enumerate(zip(a.tolist(), b.tolist(), c.tolist(), strict=True)):
        value = Fraction(x) * Fraction(y) + Fraction(z)
        sign = zeros[i] if x == 0 or y == 0 else 0.0
        assert actual[i].tobytes() == dtype(exact(value, sign)).tobytes(), (x, y, z)


def test_float32_ties_of_the_float64_sum():
    # 1 + 2**-24 is the middle between two float32 numbers; the product's last bit decides.
    a = np.float32(1 + 2**-23)
    b = np.float32(2**-24)
    c = np.array([1, 1 + 2**-23], np.float32)
    for sign in (1, -1):
        tiny = np.float32(sign * 2**-90)
        np.testing.assert_array_equal(fma32(tiny, 1, c), c)
    np.testing.assert_array_equal(fma32(a, b, c), np.array([1 + 2**-23, 1 + 2**-22], np.float32))


def test_the_rounding_that_float64_alone_gets_wrong():
    a, b = np.float32(2**-12 * (1 + 2**-20)), np.float32(2**-12 * (1 - 2**-20))
    c = np.float32(1 + 2**-23)
    assert np.float32(np.float64(a) * b + c) != fma32(a, b, c)
    assert fma32(a, b, c) == exact_32(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)), 0)


@pytest.mark.parametrize(("fma", "dtype"), [(fma32, np.float32), (fma64, np.float64)])
def test_special_values(fma, dtype):
    inf, nan, top = np.inf, np.nan, np.finfo(dtype).max
    cases = [
        (inf, 1, -inf, nan),
        (inf, 0, 1, nan),
        (top, top, -inf, -inf),  # the product alone would overflow and make it NaN
        (top, 2, -top, top),
        (nan, 1, 1, nan),
        (0.0, -1, 0.0, 0.0),
        (0.0, -1, -0.0, -0.0),
        (1, 1, -1, 0.0),
        (-1, 1, 1, 0.0),
        (top, 2, 0, inf),
    ]
    a, b, c, expected = np.array(cases, dtype).T
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(fma(a, b, c), expected)
    assert not np.signbit(fma(a, b, c)[7:9]).any()
    assert np.signbit(fma(a, b, c)[6])


@pytest.mark.parametrize("fma", [fma32, fma64])
def test_scalars_and_broadcasting(fma):
    assert fma(2, 3, 4) == 10
    assert fma(np.ones((3, 1)), np.ones(4), 1).shape == (3, 4)
