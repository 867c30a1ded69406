"""What a rule shows between gradient and parameter, and what it may not show."""

import jax
import jax.numpy as jnp
import optax
import pytest

import funcsgd

PARAMS = {"w": jnp.array([1.0, -2.0]), "b": jnp.array([0.5])}
GRADIENTS = {"w": jnp.array([0.25, 3.0]), "b": jnp.array([-4.0])}


def seen_in(tx, params=PARAMS, gradients=GRADIENTS):
    @jax.jit
    def step(gradients, state, params):
        with funcsgd.observing() as seen:
            tx.update(gradients, state, params)
        return seen

    return step(gradients, tx.init(params), params)


def test_quantities_come_in_the_order_of_the_stages():
    tx = optax.chain(funcsgd.clip_grad_value(1.0), funcsgd.sgd(0.1, momentum=0.9, weight_decay=0.5))
    seen = seen_in(tx)
    assert [len(trees) for trees in seen.values()] == [1, 1]
    assert seen["clip"][0]["w"].tolist() == [0.25, 1.0]
    assert seen["weight_decay"][0]["w"].tolist() == [0.75, 0.0]
    assert seen["weight_decay"][0]["b"].tolist() == [-0.75]


def test_a_decay_of_zero_is_shown_too():
    assert seen_in(funcsgd.sgd(0.1))["weight_decay"][0]["w"].tolist() == GRADIENTS["w"].tolist()


def test_a_stage_for_chains_that_show_nothing():
    assert not seen_in(optax.chain(optax.clip(1.0), optax.sgd(0.1)))
    seen = seen_in(optax.chain(optax.clip(1.0), funcsgd.observe("clip"), optax.sgd(0.1)))
    assert seen["clip"][0]["w"].tolist() == [0.25, 1.0]


def test_each_part_of_a_partition_shows_its_own_leaves():
    rules = {"w": funcsgd.sgd(0.1, weight_decay=0.5), "b": funcsgd.sgd(0.1, weight_decay=0.25)}
    seen = seen_in(optax.partition(rules, {"w": "w", "b": "b"}))["weight_decay"]
    values = [jax.tree.leaves(tree) for tree in seen]
    assert sorted(float(leaf[0]) for leaves in values for leaf in leaves) == [-3.875, 0.75]


@pytest.mark.parametrize("around", [jax.jit, lambda f: lambda *a: jax.lax.cond(True, f, f, *a), jax.checkpoint])
def test_tracers_of_an_inner_trace_stay_inside(around):
    tx = funcsgd.sgd(0.1, weight_decay=0.5)
    inner = optax.GradientTransformation(tx.init, around(tx.update))
    assert not seen_in(inner)


def test_observations_nest_and_end():
    tx = funcsgd.sgd(0.1, weight_decay=0.5)
    state = tx.init(PARAMS)
    with funcsgd.observing() as outer:
        with funcsgd.observing() as inner:
            tx.update(GRADIENTS, state, PARAMS)
        tx.update(GRADIENTS, state, PARAMS)
    tx.update(GRADIENTS, state, PARAMS)
    assert (len(outer["weight_decay"]), len(inner["weight_decay"])) == (2, 1)


def test_an_error_inside_ends_the_observation():
    with pytest.raises(ZeroDivisionError), funcsgd.observing() as seen:
        raise ZeroDivisionError
    tx = funcsgd.sgd(0.1)
    tx.update(GRADIENTS, tx.init(PARAMS), PARAMS)
    assert not seen


def test_observing_changes_no_bit():
    tx = funcsgd.sgd(0.1, momentum=0.9, weight_decay=0.3)
    params = jax.random.normal(jax.random.key(0), (4099,))
    gradients = jax.random.normal(jax.random.key(1), (4099,))

    @jax.jit
    def plain(gradients, state, params):
        return optax.apply_updates(params, tx.update(gradients, state, params)[0])

    @jax.jit
    def observed(gradients, state, params):
        with funcsgd.observing() as seen:
            updates, _ = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), seen

    state = tx.init(params)
    without, within = plain(gradients, state, params), observed(gradients, state, params)[0]
    assert without.tobytes() == within.tobytes()
