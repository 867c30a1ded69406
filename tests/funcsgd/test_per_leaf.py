"""Which leaves a rule takes, and that those which are alike are compiled once."""

import contextlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcsgd
from funcsgd import averages, curvature, schedules

RULES = {
    "sgd": lambda: funcsgd.sgd(0.1),
    "momentum": lambda: funcsgd.sgd(0.1, 0.9, weight_decay=0.1),
    "nesterov": lambda: funcsgd.sgd(0.1, 0.9, nesterov=True),
    "clip_grad_norm": lambda: optax.chain(funcsgd.clip_grad_norm(0.1), funcsgd.sgd(0.1)),
    "clip in any order": lambda: optax.chain(funcsgd.clip_grad_norm(0.1, summation="any"), funcsgd.sgd(0.1)),
    "clip_grad_value": lambda: optax.chain(funcsgd.clip_grad_value(0.1), funcsgd.sgd(0.1)),
    "schedulers": lambda: funcsgd.sgd(funcsgd.scale_by_schedulers([schedules.StepLR(0.1, 1)], 9), 0.9),
    "average": lambda: averages.with_average(funcsgd.sgd(0.1, 0.9), averages.ema(0.9)),
    "line search": lambda: optax.chain(optax.scale(-1.0), curvature.scale_by_quadratic_linesearch()),
    "observed": lambda: optax.chain(funcsgd.sgd(0.1), curvature.observe_quadratic_step(0.1)),
    "hutchinson": lambda: optax.chain(curvature.scale_by_hutchinson(), funcsgd.sgd(0.1)),
}


def loss_fn(params):
    return sum(jnp.sum((x - 1) ** 2) for x in jax.tree.leaves(params) if jnp.issubdtype(x.dtype, jnp.floating))


def trained(tx, params, grads_of, steps=2):
    tx = optax.with_extra_args_support(tx)
    state = tx.init(params)
    for _ in range(steps):
        grads = grads_of(params)
        updates, state = tx.update(grads, state, params, value=loss_fn(params), grad=grads, value_fn=loss_fn)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("name", RULES)
def test_none_stays_none_and_changes_nothing_else(name):
    plain = trained(RULES[name](), {"w": jnp.arange(3.0)}, jax.grad(loss_fn))
    with_none = trained(RULES[name](), {"w": jnp.arange(3.0), "bias": None}, jax.grad(loss_fn))
    assert with_none["bias"] is None
    assert with_none["w"].tolist() == plain["w"].tolist()


@pytest.mark.parametrize("name", [name for name in RULES if name not in ("hutchinson", "line search", "observed")])
def test_integers_whose_gradient_is_float0_stay_as_they_are(name):
    params = {"w": jnp.arange(3.0), "steps": jnp.int32([7, 8])}
    after = trained(RULES[name](), params, jax.grad(loss_fn, allow_int=True))
    assert after["steps"].tolist() == [7, 8]
    assert after["w"].tolist() != [0.0, 1.0, 2.0]


@pytest.mark.parametrize("name", [name for name in RULES if name not in ("clip_grad_value",)])
@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (jax.random.key(0), r"parameter \['dropout'\] is a random key, .*: an optimizer cannot step it.*eqx\.filter"),
        (
            abs,
            r"parameter \['dropout'\] is <built-in function abs>, which is no array: .*None in the place of this one",
        ),
    ],
    ids=["key", "function"],
)
def test_leaves_that_no_rule_can_step_are_named(name, leaf, message):
    with pytest.raises(TypeError, match=re.compile(message, re.DOTALL)):
        RULES[name]().init({"w": jnp.ones(2), "dropout": leaf})


def bodies(tx, n_leaves):
    """How many different functions XLA makes of a step: names and numbers of instructions do not count."""
    params = [jnp.ones(3) for _ in range(n_leaves)]
    text = jax.jit(tx.update).lower(params, tx.init(params), params).compile().as_text()
    found = re.findall(r"^%\S*fused_computation\S* \(.*?^\}", text, re.MULTILINE | re.DOTALL)
    return {re.sub(r"%[\w.\-]+|param_[\d.]+|metadata=\{.*?\}", "", body) for body in found}


@pytest.mark.parametrize(
    "tx",
    [funcsgd.sgd(0.1), funcsgd.sgd(0.1, 0.9), funcsgd.sgd(0.1, 0.9, 0.0, 0.1, nesterov=True)],
    ids=["sgd", "momentum", "nesterov and decay"],
)
def test_equal_leaves_are_one_function(tx):
    assert len(bodies(tx, 40)) == len(bodies(tx, 20))


def test_a_function_for_each_leaf_would_be_found():
    def update(g, state, params=None):
        return [x * state[i] for i, x in enumerate(g)], state

    def found(n):
        return len(bodies(optax.GradientTransformation(lambda p: jnp.ones(len(p)), update), n))

    assert found(40) - found(20) >= 20


@pytest.mark.parametrize("name", ["momentum", "clip_grad_norm", "line search", "hutchinson", "schedulers"])
def test_an_eager_call_compiles_nothing_the_second_time(name):
    tx, params = optax.with_extra_args_support(RULES[name]()), {"w": jnp.arange(3.0)}
    state, grads, value = tx.init(params), jax.grad(loss_fn)(params), loss_fn(params)
    for _ in range(2):
        _, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=loss_fn)
    with nothing_compiles():
        tx.update(grads, state, params, value=value, grad=grads, value_fn=loss_fn)


@contextlib.contextmanager
def nothing_compiles():
    def refuse(*args, **options):
        raise AssertionError("something was compiled")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jax._src.compiler.backend_compile_and_load", refuse)
        yield


def test_a_compilation_would_be_found():
    with nothing_compiles(), pytest.raises(AssertionError, match="something was compiled"):
        jax.jit(lambda x: x + 1)(1.0)


def test_zeros_have_the_type_of_the_parameters():
    zeros = (
        funcsgd.add_momentum(0.9).init({"a": np.ones((2, 3)), "b": jnp.ones(4, jnp.bfloat16), "c": 1.0}).momentum_buffer
    )
    assert {name: (z.shape, z.dtype, z.weak_type) for name, z in zeros.items()} == {
        "a": ((2, 3), jnp.float32, False),
        "b": ((4,), jnp.bfloat16, False),
        "c": ((), jnp.float32, False),
    }
