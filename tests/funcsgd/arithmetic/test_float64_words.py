"""Doubles keep their bits in 32-bit mode, traced, mapped and in loops, and are calculated with as Python does."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcsgd.arithmetic.float64_words import doubles, from_words, rounded_words, to_words

VALUES = [0.1, -0.0, 1 / 3, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan]


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_every_bit_comes_back(enabled, compiled):
    with jax.enable_x64(enabled):
        words = (jax.jit(lambda: to_words(VALUES)) if compiled else lambda: to_words(VALUES))()
        assert (words.shape, words.dtype) == ((8, 2), np.uint32)
        assert np.asarray(from_words(words)).tobytes() == np.array(VALUES).tobytes()


@pytest.mark.parametrize(("enabled", "dtype"), [(False, np.float32), (True, np.float64)])
def test_what_is_shown_is_rounded_once(enabled, dtype):
    with jax.enable_x64(enabled):
        shown = rounded_words(to_words(VALUES))
        assert shown.dtype == dtype
        with np.errstate(over="ignore"):
            expected = np.array(VALUES).astype(dtype)
        flushed = np.where(np.abs(expected) < np.finfo(dtype).tiny, 0, expected)  # as XLA's CPU backend does
        assert np.array_equal(np.where(np.abs(shown) < np.finfo(dtype).tiny, 0, shown), flushed, equal_nan=True)


def test_a_mapped_loop_calculates_as_python_does():
    def grown(start):
        def step(words, _):
            with doubles():
                words = to_words(from_words(words) * jnp.float64(1.1))
            return words, None

        return jax.lax.scan(step, to_words(start), length=20)[0]

    python = [0.5, 0.25]
    for _ in range(20):
        python = [value * 1.1 for value in python]
    ours = from_words(jax.jit(jax.vmap(grown))(jnp.array([0.5, 0.25])))
    assert ours.tolist() == python
