"""Sums of squares in torch's order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from funcsgd.stages.sum_of_squares import sums_of_squares
from tests.support.sampling import one_in

SIZES = [*range(2, 20), 33, 48, 64, 65, 255, 256, 257, 264, 511, 512, 513, 767, 768, 64 * 33, 4099, 100_003]


def roots(vectors):
    return jnp.sqrt(sums_of_squares(list(vectors)))


HOW = {"scan": lambda batch: jax.lax.map(roots, batch), "vmap": jax.vmap(roots)}  # a batch of trees, in one program


def norms(vectors):
    """torch's, which are the roots of its sums."""
    return np.array([torch.linalg.vector_norm(torch.from_numpy(v)).numpy() for v in vectors])


def test_by_hand():
    assert sums_of_squares([jnp.arange(10.0), jnp.zeros(0)]).tolist() == [285.0, 0.0]


@pytest.mark.parametrize("dtype", one_in(2, ["float32", "float64"]))
@pytest.mark.parametrize("how", HOW)
def test_equal_to_torch(x64, dtype, how):
    rng = np.random.default_rng(0)
    batches = [rng.normal(size=(16, n)).astype(dtype) for n in SIZES]
    wanted = np.stack([norms(vectors) for vectors in zip(*batches, strict=True)])
    got = jax.jit(HOW[how])(batches)
    assert int((np.asarray(got) != wanted).sum()) == 0


@pytest.mark.parametrize("n", one_in(2, [*range(2, 9), 13, 15, 16, 48, 64]))
def test_alone_under_vmap_and_scan(n):
    """One short vector in a program of its own: the loops that LLVM rearranges most readily."""
    x = np.random.default_rng(n).normal(size=(64, n)).astype("float32")
    for how in HOW.values():
        assert (np.asarray(jax.jit(how)([x])) == norms(x)[:, None]).all()


def test_large_vectors_are_summed_where_they_stand():
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=n).astype("float32") for n in (2**18, 5, 3 * 2**18 + 1237, 2**18 - 1, 5)]
    assert (np.asarray(jax.jit(roots)(vectors)) == norms(vectors)).all()


def test_a_product_in_the_same_program_is_rounded_first():
    a, b = np.random.default_rng(0).normal(size=(2, 64, 77)).astype("float32")
    together = jax.jit(jax.vmap(lambda a, b: roots([a * b])[0]))(a, b)
    assert (np.asarray(together) == norms(a * b)).all()


def test_the_derivative_is_twice_the_vector():
    x = jnp.arange(11.0)
    assert jax.grad(lambda x: sums_of_squares([x])[0])(x).tolist() == (2 * x).tolist()


def test_a_plain_sum_would_be_found():
    x = np.random.default_rng(0).normal(size=(64, 4099)).astype("float32")
    plain = jax.jit(lambda x: jnp.sqrt(jnp.sum(x * x, axis=1)))(x)
    assert (np.asarray(plain) != norms(x)).sum() > 10
