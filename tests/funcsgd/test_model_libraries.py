"""The trees that people train: equinox, flax nnx and linen models, nested dicts, NamedTuples and dataclasses."""

import dataclasses
import itertools
from typing import NamedTuple

import equinox as eqx
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import funcsgd
from funcsgd import averages, curvature, schedules
from tests.support.sampling import one_in

X = np.random.default_rng(0).standard_normal((16, 3)).astype(np.float32)
Y = (X @ np.float32([1, -2, 0.5]))[:, None]
RULES = {
    "sgd": lambda: funcsgd.sgd(0.1),
    "momentum and decay": lambda: funcsgd.sgd(0.05, 0.9, 0.1, 1e-3),
    "nesterov": lambda: funcsgd.sgd(0.02, 0.9, nesterov=True),
    "adam": lambda: funcsgd.adam(0.1, weight_decay=1e-3),
    "adamw": lambda: funcsgd.adamw(0.1),
    "clip": lambda: optax.chain(funcsgd.clip_grad_norm(1.0), funcsgd.sgd(0.05, 0.9)),
    "clip values": lambda: optax.chain(funcsgd.clip_grad_value(0.5), funcsgd.sgd(0.05, 0.9)),
    "schedule": lambda: funcsgd.sgd(schedules.tabulate(schedules.CosineAnnealingLR(0.1, 40), 40), 0.5),
    "schedulers": lambda: funcsgd.sgd(funcsgd.scale_by_schedulers([schedules.StepLR(0.1, 20)], 40), 0.5),
    "average": lambda: averages.with_average(funcsgd.sgd(0.05, 0.9), averages.ema(0.9)),
    "line search": lambda: optax.chain(optax.scale(-1.0), curvature.scale_by_quadratic_linesearch(max_step=0.5)),
    "observed": lambda: optax.chain(funcsgd.sgd(0.05), curvature.observe_quadratic_step(0.05)),
    "hutchinson": lambda: optax.chain(curvature.scale_by_hutchinson(0.5), funcsgd.sgd(0.05)),
}


def square(predicted):
    return jnp.mean((predicted - Y) ** 2)


class Layer(NamedTuple):
    w: jax.Array
    b: jax.Array | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Model:
    layer: Layer
    scale: jax.Array
    name: str = dataclasses.field(metadata={"static": True}, default="linear")


def weights():
    return jnp.ones((3, 1)) / 3


PLAIN = {
    "nested dicts": (
        {"linear": {"w": weights(), "b": jnp.zeros(1)}},
        lambda p: X @ p["linear"]["w"] + p["linear"]["b"],
    ),
    "NamedTuple": (Layer(weights(), None), lambda p: X @ p.w),
    "dataclass": (Model(Layer(weights(), None), jnp.ones(1)), lambda p: X @ p.layer.w * p.scale),
}


def first_and_last_loss(step, state, steps=40):
    losses = []
    for _ in range(steps):
        state, loss = step(state)
        losses.append(float(loss))
    return losses[0], losses[-1]


def assert_trained(first, last):
    assert np.isfinite(last)
    assert last < 0.5 * first


def plain(tx, params, predict):
    tx = optax.with_extra_args_support(tx)

    def loss_fn(p):
        return square(predict(p))

    @jax.jit
    def step(carry):
        params, state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, state = tx.update(grads, state, params, value=loss, grad=grads, value_fn=loss_fn)
        return (optax.apply_updates(params, updates), state), loss

    return first_and_last_loss(step, (params, tx.init(params)))


@pytest.mark.parametrize("case", one_in(4, itertools.product(RULES, PLAIN)), ids="-".join)
def test_plain_trees(case):
    rule, tree = case
    assert_trained(*plain(RULES[rule](), *PLAIN[tree]))


@pytest.mark.parametrize("use_bias", one_in(2, [True, False]))
@pytest.mark.parametrize("rule", one_in(2, RULES))
def test_equinox_as_its_documentation_has_it(rule, use_bias):
    # eqx.apply_updates takes arrays only, which adamw's updates are not.
    last = funcsgd.round_updates() if rule == "adamw" else optax.identity()
    tx = optax.chain(RULES[rule](), last)
    model = eqx.nn.MLP(3, 1, 8, 1, use_bias=use_bias, use_final_bias=use_bias, key=jax.random.key(0))

    def loss_fn(model):
        return square(jax.vmap(model)(X))

    @eqx.filter_jit
    def step(carry):
        model, state = carry
        loss, grads = eqx.filter_value_and_grad(loss_fn)(model)
        params, static = eqx.partition(model, eqx.is_array)
        updates, state = tx.update(
            grads, state, params, value=loss, grad=grads, value_fn=lambda p: loss_fn(eqx.combine(p, static))
        )
        return (eqx.apply_updates(model, updates), state), loss

    assert_trained(*first_and_last_loss(step, (model, tx.init(eqx.filter(model, eqx.is_array)))))


@pytest.mark.parametrize("rule", one_in(2, RULES))
def test_an_nnx_model_and_its_optimizer(rule):
    model = nnx.Linear(3, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, RULES[rule](), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        loss, grads = nnx.value_and_grad(lambda m: square(m(X)))(model)
        graph = nnx.graphdef(model)
        optimizer.update(model, grads, value=loss, grad=grads, value_fn=lambda p: square(nnx.merge(graph, p)(X)))
        return loss

    assert_trained(*first_and_last_loss(lambda _: (None, step(model, optimizer)), None))


@pytest.mark.parametrize("rule", [name for name in RULES if name not in ("line search", "observed", "hutchinson")])
def test_a_linen_train_state(rule):
    """The three others need keywords, which ``apply_gradients`` drops."""
    model = flax.linen.Dense(1)
    params = model.init(jax.random.key(0), X)
    state = TrainState.create(apply_fn=model.apply, params=params, tx=RULES[rule]())

    @jax.jit
    def step(state):
        loss, grads = jax.value_and_grad(lambda p: square(state.apply_fn(p, X)))(state.params)
        return state.apply_gradients(grads=grads), loss

    assert_trained(*first_and_last_loss(step, state))
