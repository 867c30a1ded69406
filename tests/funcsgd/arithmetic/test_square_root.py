"""torch's square roots: the table that is shipped, one that is measured, and what both do outside of the table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import funcsgd
from funcsgd.arithmetic import sqrt, square_root
from funcsgd.arithmetic.square_root import N_CASES
from torch_bridge.square_root import torch_root

CASES = (np.arange(N_CASES, dtype=np.uint32) + np.float32(1).view(np.uint32)).view(np.float32)


def test_the_correct_root_is_numpys():
    x = CASES[::97]
    assert np.array_equal(jax.jit(lambda x: sqrt(x, square_root("correct")))(x), np.sqrt(x))
    assert square_root("correct").n_wrong == 0


def test_the_avx512_root_is_one_too_low_in_98955_places():
    """39,167 of them in [1, 2), 59,788 in [2, 4): as counted where that root was live."""
    root = square_root("mkl_avx512")
    found = np.asarray(jax.jit(lambda x: sqrt(x, root))(CASES))
    low = np.sqrt(CASES).view(np.int32) - found.view(np.int32)
    assert root.n_wrong == 98_955
    assert set(np.unique(low)) == {0, 1}
    assert (low[CASES < 2].sum(), low[CASES >= 2].sum()) == (39_167, 59_788)


@pytest.mark.parametrize("exponent", [-124, -60, -8, 0, 2, 64, 124])
def test_a_root_depends_on_significand_and_parity_alone(exponent):
    root = square_root("mkl_avx512")
    some = np.random.default_rng(0).choice(CASES, 50_000)
    scaled = np.ldexp(some, exponent)
    assert np.array_equal(sqrt(scaled, root), np.ldexp(np.asarray(sqrt(some, root)), exponent // 2))


def test_what_has_no_root_or_an_exact_one():
    x = np.array([0.0, -0.0, np.inf, np.nan, -1.0, 4.0, 0.25, 2.0**-126], np.float32)
    for root in (square_root("mkl_avx512"), torch_root()):
        found, expected = np.asarray(sqrt(x, root)), torch.sqrt(torch.tensor(x)).numpy()
        assert np.array_equal(found, expected, equal_nan=True)
        assert np.signbit(found[1])


def test_the_measured_root_is_torchs():
    rng = np.random.default_rng(1)
    x = np.exp(rng.uniform(-80, 80, 200_000)).astype(np.float32)
    found = jax.jit(lambda x: sqrt(x, torch_root()))(x)
    assert np.array_equal(found, torch.sqrt(torch.tensor(x)).numpy())


def test_under_vmap_scan_and_as_an_argument():
    x, root = CASES[:4096].reshape(64, 64), square_root("mkl_avx512")
    whole = np.asarray(sqrt(x, root))
    assert np.array_equal(jax.vmap(lambda row: sqrt(row, root))(x), whole)
    assert np.array_equal(jax.lax.map(lambda row: sqrt(row, root), x), whole)
    assert np.array_equal(jax.jit(sqrt)(x, root), whole)


def test_corrections_come_back():
    corrections = np.zeros(N_CASES, np.int8)
    places = np.random.default_rng(0).choice(N_CASES, 1000, replace=False)
    corrections[places] = np.where(places % 2, 1, -1)
    root = funcsgd.arithmetic.SquareRoot.from_corrections("made up", corrections)
    found = np.asarray(sqrt(CASES, root)).view(np.int32) - np.sqrt(CASES).view(np.int32)
    assert np.array_equal(found, corrections)
    assert root.n_wrong == 1000
    assert repr(root) == "<SquareRoot made up: 1000 of 16777216 not correctly rounded>"
    assert root != square_root("correct")
    assert funcsgd.arithmetic.SquareRoot.from_corrections("none", np.zeros(N_CASES, int)).words is None


@pytest.mark.parametrize("wrong", [np.zeros(3, int), np.full(N_CASES, 2)], ids=["shape", "two units"])
def test_corrections_that_no_root_has(wrong):
    with pytest.raises(ValueError, match="corrections from -1 to 1, but got"):
        funcsgd.arithmetic.SquareRoot.from_corrections("wrong", wrong)


def test_low_precision_and_float64_are_correctly_rounded():
    root = square_root("mkl_avx512")
    with jax.enable_x64(True):
        x = np.random.default_rng(0).uniform(1, 4, 4096)
        assert np.array_equal(sqrt(jnp.asarray(x), root), np.sqrt(x))
    assert sqrt(jnp.asarray([2.0], jnp.bfloat16), root).dtype == jnp.bfloat16
