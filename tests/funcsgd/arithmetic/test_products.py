"""A product that meets a sum is rounded where torch rounds it, whatever the constants around it."""

import jax
import numpy as np
import pytest

from funcsgd.arithmetic import add, rounded, step

X, G = np.random.default_rng(0).standard_normal((2, 10_007)).astype(np.float32)
CONSTANTS = (0.3, 1.0, -1.0, 2.0)  # 1 and -1 vanish from the program; the others are joined by reassociation


def fused(x, y, alpha):
    """``fl(x + alpha * y)``, by way of float64."""
    return (x.astype(np.float64) + np.float64(np.float32(alpha)) * y.astype(np.float64)).astype(np.float32)


@pytest.mark.parametrize("alpha", [*CONSTANTS, 0.7, 1e-4])
@pytest.mark.parametrize("c", CONSTANTS)
def test_a_product_on_either_side_is_rounded_first(c, alpha):
    product = G * np.float32(c)
    np.testing.assert_array_equal(jax.jit(lambda x, g: add(x, c * g, alpha=alpha))(X, G), fused(X, product, alpha))
    np.testing.assert_array_equal(jax.jit(lambda x, g: add(c * g, x, alpha=alpha))(X, G), fused(product, X, alpha))
    for ours in (lambda x, g: x + step(c * g, alpha, x), lambda x, g: x + step(c * g, alpha, None)):
        np.testing.assert_array_equal(jax.jit(ours)(X, G), fused(X, product, alpha))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rounded_keeps_every_bit(dtype):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 6e-8, -6e-8, 6e4], dtype)
    assert np.asarray(jax.jit(rounded)(x)).tobytes() == x.tobytes()


def test_derivatives_pass():
    np.testing.assert_allclose(jax.grad(lambda x: add(x, x * x, alpha=0.5))(3.0), 4.0)
