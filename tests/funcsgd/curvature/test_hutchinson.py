"""Hutchinson's estimate, against exact Hessians, its own variance, and torch's double backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from funcsgd.curvature import hutchinson_diagonal


def coupled(w):  # its Hessian has no zeros
    return (jnp.cos(w).sum() ** 2 + jnp.sin(w[0] * w[1]) * w.sum()) / 2


@pytest.mark.parametrize("n_probes", [1, 3])
def test_exact_for_diagonal_hessians(x64, n_probes):
    params = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([[3.0], [-0.5]])}

    def value_fn(p):
        return (p["a"] ** 3).sum() + jnp.exp(p["b"]).sum(), "aux"

    diagonal = hutchinson_diagonal(value_fn, params, jax.random.key(0), n_probes, has_aux=True)
    assert np.allclose(diagonal["a"], 6 * params["a"], rtol=1e-15)
    assert np.allclose(diagonal["b"], jnp.exp(params["b"]), rtol=1e-15)


@pytest.mark.thorough
def test_mean_and_variance_are_those_of_the_exact_hessian(x64):
    w, n = jnp.array([0.3, -1.1, 0.7, 2.0]), 20_000
    hessian = jax.hessian(coupled)(w)
    keys = jax.random.split(jax.random.key(0), n)
    draws = np.asarray(jax.jit(jax.vmap(lambda key: hutchinson_diagonal(coupled, w, key)))(keys))
    off_diagonal = hessian - jnp.diag(jnp.diag(hessian))
    variance = (off_diagonal**2).sum(1)
    assert (np.abs(draws.mean(0) - jnp.diag(hessian)) < 4 * np.sqrt(variance / n)).all()
    fourth = ((draws - draws.mean(0)) ** 4).mean(0)
    assert (np.abs(draws.var(0) - variance) < 4 * np.sqrt((fourth - variance**2) / n)).all()


def test_probes_against_torchs_double_backward(x64):
    rng = np.random.default_rng(0)
    x, y, w1, w2 = (rng.normal(size=shape) for shape in ((20, 4), (20,), (4, 5), (5,)))
    params = {"w1": jnp.asarray(w1), "w2": jnp.asarray(w2)}

    def value_fn(p):
        return ((jnp.tanh(x @ p["w1"]) @ p["w2"] - y) ** 2).mean()

    ours = hutchinson_diagonal(value_fn, params, jax.random.key(3))
    keys = jax.random.split(jax.random.key(3), 2)
    signs = [np.asarray(jax.random.rademacher(k, v.shape, float)) for k, v in zip(keys, (w1, w2), strict=True)]
    leaves = [torch.tensor(w, requires_grad=True) for w in (w1, w2)]
    loss = ((torch.tanh(torch.from_numpy(x) @ leaves[0]) @ leaves[1] - torch.from_numpy(y)) ** 2).mean()
    grads = torch.autograd.grad(loss, leaves, create_graph=True)
    probes = [torch.from_numpy(v.copy()) for v in signs]
    products = torch.autograd.grad(grads, leaves, grad_outputs=probes)
    for mine, v, product in zip(jax.tree.leaves(ours), probes, products, strict=True):
        theirs = (v * product).numpy()
        assert np.abs(mine - theirs).max() < 1e-12 * np.abs(theirs).max()
