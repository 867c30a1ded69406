"""sgd inside optax's wrappers and flax's train states, and the learning rate read through all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import funcsgd
from tests.support.torch_runs import by_step, differing_bits, our_run, random_run, torch_run

FLAGS = {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}
LR = 0.0137
PARAMS, GRADIENTS = random_run(np.float32, steps=20)
STEPS = by_step(GRADIENTS)
IN_TORCH = torch_run(PARAMS, STEPS, lr=LR, **FLAGS)


def before_the_learning_rate(wrap):
    """A wrapper around all stages but the last, whose product must reach apply_updates bare to be fused."""
    stages = optax.chain(funcsgd.add_weight_decay(0.01), funcsgd.add_momentum(0.9, 0.1))
    return optax.chain(wrap(stages), funcsgd.scale_by_learning_rate(LR))


SGD = funcsgd.sgd(LR, **FLAGS)
LABELS = [index % 2 for index in range(len(PARAMS))]
BITWISE = {
    "chain": optax.chain(optax.identity(), SGD, optax.identity()),
    "named_chain": optax.named_chain(("sgd", SGD)),
    "masked": optax.masked(SGD, [True] * len(PARAMS)),
    "partition": optax.partition({0: SGD, 1: funcsgd.sgd(LR, **FLAGS)}, LABELS),
    "inject_hyperparams": optax.inject_hyperparams(funcsgd.sgd, static_args=("nesterov", "maximize"))(LR, **FLAGS),
    "conditionally_transform": optax.conditionally_transform(SGD, lambda count: True),
    "MultiSteps, learning rate outside": before_the_learning_rate(lambda tx: optax.MultiSteps(tx, 1)),
    "apply_if_finite, learning rate outside": before_the_learning_rate(lambda tx: optax.apply_if_finite(tx, 3)),
}
NOT_BITWISE = {"MultiSteps": optax.MultiSteps(SGD, 1), "apply_if_finite": optax.apply_if_finite(SGD, 3)}
EVERY = BITWISE | NOT_BITWISE


def test_two_steps_after_a_clip_by_hand():
    tx = optax.chain(optax.clip(1.0), funcsgd.sgd(0.5, momentum=0.5))
    (p,) = our_run(tx, [np.float32([4])], [[np.float32([3])], [np.float32([-3])]])
    assert p.tolist() == [[3.5], [3.75]]  # b = 1, then 0.5 * 1 - 1


@pytest.mark.parametrize("name", BITWISE)
def test_parity(name):
    assert differing_bits(our_run(BITWISE[name], PARAMS, STEPS), IN_TORCH) == 0


@pytest.mark.parametrize("name", NOT_BITWISE)
def test_around_the_learning_rate_a_wrapper_can_cost_bits(name):
    """These compute after the product, in a ``cond`` or by a factor: it does not reach apply_updates bare."""
    assert differing_bits(our_run(NOT_BITWISE[name], PARAMS, STEPS), IN_TORCH) > 0


def test_what_apply_if_finite_costs_is_one_more_rounding():
    ours = our_run(NOT_BITWISE["apply_if_finite"], PARAMS, STEPS)
    params, state, update = PARAMS, SGD.init(PARAMS), jax.jit(SGD.update)
    for step, of_step in enumerate(STEPS):
        updates, state = update(of_step, state, params)
        params = [p + np.asarray(u) for p, u in zip(params, updates, strict=True)]
        assert differing_bits([p[step] for p in ours], params) == 0


@pytest.mark.parametrize("name", EVERY)
def test_the_learning_rate_is_read_through_every_wrapper(name):
    found = funcsgd.get_learning_rate(EVERY[name].init([jnp.asarray(p) for p in PARAMS]))
    expected = [LR, LR] if name == "partition" else LR
    assert np.array_equal(np.float32(found), np.float32(expected))


def test_the_learning_rate_is_read_from_nnxs_optimizer():
    class Model(nnx.Module):
        def __init__(self):
            self.w = nnx.Param(jnp.ones(3))

    found = funcsgd.get_learning_rate(nnx.Optimizer(Model(), SGD, wrt=nnx.Param).opt_state)
    assert isinstance(found, jax.Array)
    assert found == np.float32(LR)


def test_an_injected_learning_rate_can_be_set():
    tx = optax.inject_hyperparams(funcsgd.sgd)(0.5)
    state = tx.init(jnp.ones(1))
    state.hyperparams["learning_rate"] = jnp.float32(0.25)
    assert float(funcsgd.get_learning_rate(state)) == 0.25
    updates, state = tx.update(jnp.array([4.0]), state, jnp.ones(1))
    assert updates.tolist() == [-1.0]


def test_accumulated_gradients():
    tx = before_the_learning_rate(lambda tx: optax.MultiSteps(tx, 2, use_grad_mean=False))
    summed = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(STEPS[::2], STEPS[1::2], strict=True)]
    ours = our_run(tx, PARAMS, STEPS)
    theirs = torch_run(PARAMS, summed, lr=LR, **FLAGS)
    assert differing_bits([p[1::2] for p in ours], theirs) == 0
    assert differing_bits([p[2::2] for p in ours], [p[1:-1:2] for p in ours]) == 0  # nothing moves in between


def test_a_gradient_that_is_not_finite_changes_no_parameter():
    bad = [np.full_like(g, np.nan) for g in STEPS[0]]
    with_bad = [STEPS[0], bad, *STEPS[1:]]
    ours = our_run(BITWISE["apply_if_finite, learning rate outside"], PARAMS, with_bad)
    assert differing_bits([np.delete(p, 1, axis=0) for p in ours], IN_TORCH) == 0


def test_leaves_that_are_masked_out_stay():
    mask = [index != 2 for index in range(len(PARAMS))]
    frozen = [not on for on in mask]
    tx = optax.chain(optax.masked(SGD, mask), optax.masked(optax.set_to_zero(), frozen))
    ours = our_run(tx, PARAMS, STEPS)
    expected = [p if on else np.stack([q] * len(STEPS)) for p, q, on in zip(IN_TORCH, PARAMS, mask, strict=True)]
    assert differing_bits(ours, expected) == 0


def test_parity_in_linens_train_state():
    state = TrainState.create(apply_fn=None, params={str(i): jnp.asarray(p) for i, p in enumerate(PARAMS)}, tx=SGD)
    step = jax.jit(lambda state, g: state.apply_gradients(grads=g))
    for k, of_step in enumerate(STEPS):
        state = step(state, {str(i): g for i, g in enumerate(of_step)})
        assert differing_bits(state.params.values(), [p[k] for p in IN_TORCH]) == 0
    assert funcsgd.get_learning_rate(state.opt_state) == np.float32(LR)


@pytest.mark.parametrize("tree_map_params", [optax.tree_map_params, optax.tree.map_params])
def test_only_the_buffer_is_like_the_parameters(tree_map_params):
    state = SGD.init(PARAMS)
    mapped = tree_map_params(SGD, lambda leaf: leaf + 1, state, transform_non_params=lambda leaf: None)
    leaves = jax.tree.leaves(mapped)
    assert [leaf.shape for leaf in leaves] == [p.shape for p in PARAMS]
    assert all((leaf == 1).all() for leaf in leaves)


def test_extra_arguments_pass_through():
    SGD.update(PARAMS, SGD.init(PARAMS), PARAMS, value=1.0, grad=None, value_fn=None)


def test_a_wrapper_that_hides_the_parameters_is_named():
    with pytest.raises(ValueError, match="add_weight_decay needs the parameters"):
        SGD.update(PARAMS, SGD.init(PARAMS))
