"""add_weight_decay is torch's grad.add(param, alpha=weight_decay)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import funcsgd
from tests.support.torch_runs import differing_bits, random_run

SPECIAL = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0])


def updated(tx, g, p):
    return jax.jit(lambda g, p: tx.update(g, tx.init(p), p)[0])(g, p)


def test_two_steps_by_hand():
    tx = optax.chain(funcsgd.add_weight_decay(0.5), funcsgd.scale_by_learning_rate(0.5))
    p = jnp.array([4.0])
    p = p + updated(tx, jnp.array([1.0]), p)  # g = 1 + 0.5 * 4 = 3
    assert p.tolist() == [2.5]
    p = p + updated(tx, jnp.array([-1.0]), p)  # g = -1 + 0.5 * 2.5 = 0.25
    assert p.tolist() == [2.375]


@pytest.mark.parametrize("zero", [0, 0.0, jnp.float32(0)])
def test_zero_leaves_every_gradient_alone_also_beside_infinite_parameters(zero):
    g, p = (a.ravel() for a in np.meshgrid(SPECIAL, SPECIAL))
    assert differing_bits([updated(funcsgd.add_weight_decay(zero), g, p)], [g]) == 0
    traced = jax.jit(lambda wd, g, p: funcsgd.add_weight_decay(wd).update(g, optax.EmptyState(), p)[0])(zero, g, p)
    assert differing_bits([traced], [g]) == 0


@pytest.mark.parametrize("mask", [{"w": True, "b": False}, lambda params: {"w": True, "b": False}])
def test_a_mask_chooses_leaves(mask):
    p = {"w": jnp.array([4.0]), "b": jnp.array([4.0])}
    out = updated(funcsgd.add_weight_decay(0.5, mask), {"w": jnp.array([1.0]), "b": jnp.array([1.0])}, p)
    assert (out["w"].tolist(), out["b"].tolist()) == ([3.0], [1.0])


def test_a_prefix_of_the_tree_is_a_mask():
    p = {"dense": {"w": jnp.array([4.0]), "b": jnp.array([4.0])}, "norm": {"scale": jnp.array([4.0])}}
    tx = funcsgd.add_weight_decay(0.5, {"dense": True, "norm": False})
    assert jax.tree.leaves(updated(tx, jax.tree.map(jnp.ones_like, p), p)) == [3.0, 3.0, 1.0]


@pytest.mark.parametrize("mask", [None, {"w": True, "b": True}])
def test_none_stays_none(mask):
    p = {"w": jnp.array([4.0]), "b": jnp.array([4.0])}
    out = updated(funcsgd.add_weight_decay(0.5, mask), {"w": None, "b": jnp.array([1.0])}, p)
    assert out["w"] is None
    assert out["b"].tolist() == [3.0]


@pytest.mark.parametrize("wrong", [-0.1, jnp.float32(-0.1)])
def test_negative_weight_decay_has_torchs_message(wrong):
    with pytest.raises(ValueError, match=r"Invalid weight_decay value: -0\.1"):
        funcsgd.add_weight_decay(wrong)


def test_several_values_at_once_are_refused():
    with pytest.raises(ValueError, match="Tensor weight_decay must be 1-element"):
        funcsgd.add_weight_decay(jnp.ones(2))


def test_the_parameters_are_required():
    with pytest.raises(ValueError, match=r"call tx\.update\(grads, state, params\)"):
        funcsgd.add_weight_decay(0.1).update(jnp.ones(1), optax.EmptyState())


@pytest.mark.parametrize("as_array", [False, True], ids=["number", "array"])
@pytest.mark.parametrize("weight_decay", [1e-2, 5e-4, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parity(x64, dtype, weight_decay, as_array):
    p, (g, *_) = (leaves[-1] for leaves in random_run(dtype))
    weight_decay = jnp.asarray(weight_decay, dtype) if as_array else weight_decay
    theirs = torch.tensor(g).add(torch.tensor(p), alpha=float(weight_decay))
    assert differing_bits([updated(funcsgd.add_weight_decay(weight_decay), g, p)], [theirs.numpy()]) == 0
