"""A second update compiles nothing, and the state's tree, shapes, dtypes and weak types never change."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcsgd
from tests.support.sampling import one_in
from tests.support.torch_runs import legal_flags, name_of

PARAMS = {"w": jnp.ones((3, 5)), "half": jnp.ones(4, jnp.bfloat16), "b": [jnp.ones(7)]}
TABLE = jnp.array([0.9, 0.0, 0.0, 0.5])
MASK = {"w": True, "half": True, "b": [False]}
EVERY = {name_of(flags): funcsgd.sgd(0.1, **flags) for flags in legal_flags()} | {
    "integer learning rate": funcsgd.sgd(1, momentum=1),
    "no momentum stage": funcsgd.sgd(0.1, momentum=None),
    "arrays": funcsgd.sgd(jnp.float32(0.1), jnp.float32(0.9), jnp.float32(0.1), jnp.float32(0.01)),
    "numpy": funcsgd.sgd(np.float64(0.1), np.float32(0.9), np.float32(0.1), np.ones((1,))),
    "schedules": funcsgd.sgd(lambda count: 0.5**count, momentum=lambda count: TABLE[count]),
    "constant schedules": funcsgd.sgd(lambda count: 1, momentum=lambda count: 0.9, dampening=0.5),
    "schedule of a Python zero": funcsgd.sgd(lambda count: 0.0, momentum=lambda count: 0),
    "masked decay": optax.chain(funcsgd.add_weight_decay(0.1, MASK), funcsgd.sgd(0.1, momentum=0.9)),
    "masked": optax.masked(funcsgd.sgd(0.1, momentum=0.9), MASK),
    "partition": optax.partition({True: funcsgd.sgd(0.1, momentum=0.9), False: funcsgd.sgd(0.2)}, MASK),
    "inject_hyperparams": optax.inject_hyperparams(funcsgd.sgd)(0.1, momentum=lambda count: TABLE[count]),
}
PATTERNS = {
    "every gradient": PARAMS,
    "one None": {**PARAMS, "half": None},
    "None but for one": {"w": None, "half": None, "b": PARAMS["b"]},  # which optax.masked lets pass as it is
}


def described(state):
    leaves, tree = jax.tree.flatten(state)
    return tree, [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in leaves]


PROGRAMS = itertools.product(EVERY, [("every gradient", False), ("None but for one", False), ("one None", True)])


@pytest.mark.parametrize("program", one_in(4, PROGRAMS), ids=str)
def test_nothing_changes_and_nothing_compiles(program):
    name, (pattern, x64_is_on) = program
    tx, g, traces = EVERY[name], PATTERNS[pattern], []

    @jax.jit
    def step(params, state, g):
        traces.append(1)
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), state

    with jax.enable_x64(x64_is_on):
        params, state = PARAMS, tx.init(PARAMS)
        first = described(state), described(params)
        for _ in range(4):
            params, state = step(params, state, g)
            assert (described(state), described(params)) == first
        assert len(traces) == step._cache_size() == 1


def test_the_state_is_the_same_whatever_the_flags():
    def without_learning_rate(tx):
        return described(tx.init(PARAMS))

    states = [without_learning_rate(funcsgd.sgd(0.1, **flags)) for flags in legal_flags()]
    assert all(state == states[0] for state in states)


def test_a_second_compilation_would_be_found():
    traces = []
    step = jax.jit(lambda x: traces.append(1) or x)
    step(jnp.ones(1)), step(jnp.ones(2))
    assert len(traces) == step._cache_size() == 2


def test_a_state_that_changed_would_be_found():
    assert described(jnp.ones(1)) != described(jnp.ones(1, jnp.bfloat16))
    assert described(jnp.asarray(1.0)) != described(jnp.float32(1.0))
