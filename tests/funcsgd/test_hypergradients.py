"""Derivatives through runs with respect to every hyperparameter, at 0 and elsewhere, against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcsgd
from funcsgd import curvature, schedules

START = np.array([3.0, -2.0, 0.5])
TARGETS = np.array([[1.0, 0.5, -1.0], [0.0, 1.0, 2.0], [-1.0, 0.3, 0.4], [2.0, -1.0, 0.0], [0.7, 0.7, 0.7]])


def loss_fn(params, target):
    return jnp.sum((params - target) ** 2 * jnp.array([1.0, 2.0, 0.5])) + 0.01 * jnp.sum(params**4)


def after_a_run(make, value):
    """The loss after five updates, as a function of one hyperparameter."""
    tx, params = optax.with_extra_args_support(make(value)), jnp.asarray(START)
    state = tx.init(params)
    for target in jnp.asarray(TARGETS):

        def of_batch(p, target=target):
            return loss_fn(p, target)

        loss, grads = jax.value_and_grad(of_batch)(params)
        updates, state = tx.update(grads, state, params, value=loss, grad=grads, value_fn=of_batch)
        params = optax.apply_updates(params, updates)
    return loss_fn(params, 1.0)


def clipped(max_norm, **options):
    return optax.chain(funcsgd.clip_grad_norm(max_norm, **options), funcsgd.sgd(0.05, 0.9))


def searched(**options):
    """Along a direction that is mostly a minimum's, and once none at all."""
    return optax.chain(optax.scale(-1.0), curvature.scale_by_quadratic_linesearch(**options))


HYPERPARAMETERS = {
    "learning_rate": (lambda h: funcsgd.sgd(h, 0.9, weight_decay=0.1), (0.0, 0.03)),
    "learning_rate alone": (funcsgd.sgd, (0.0, 0.03)),
    "learning rate of one step": (lambda h: funcsgd.sgd(lambda n: jnp.where(n == 2, h, 0.05), 0.9), (0.0, 0.03)),
    "base of a schedule": (lambda h: funcsgd.sgd(schedules.CosineAnnealingLR(h, 5), 0.9), (0.0, 0.05)),
    "eta_min": (lambda h: funcsgd.sgd(schedules.CosineAnnealingLR(0.05, 5, h), 0.9), (0.0, 0.01)),
    "gamma": (lambda h: funcsgd.sgd(schedules.ExponentialLR(0.05, h), 0.9), (0.0, 0.7)),
    "gamma of steps": (lambda h: funcsgd.sgd(schedules.StepLR(0.05, 2, h), 0.9), (0.0, 0.7)),
    "power of a schedule": (lambda h: funcsgd.sgd(schedules.PolynomialLR(0.05, 6, h), 0.9), (0.0, 0.5)),
    "start_factor": (lambda h: funcsgd.sgd(schedules.LinearLR(0.05, h, 1.0, 4), 0.9), (0.5,)),
    "decay of a rate": (lambda h: funcsgd.sgd(schedules.InverseTimeLR(0.05, h), 0.9), (0.0, 0.5)),
    "momentum": (lambda h: funcsgd.sgd(0.05, h), (0.0, 0.5)),
    "momentum with decay": (lambda h: funcsgd.sgd(0.05, h, weight_decay=0.1), (0.0, 0.5)),
    "momentum, Nesterov": (lambda h: funcsgd.sgd(0.05, h, nesterov=True), (0.0, 0.5)),
    "momentum, dampened": (lambda h: funcsgd.sgd(0.05, h, dampening=0.3), (0.5,)),
    "dampening": (lambda h: funcsgd.sgd(0.05, 0.9, dampening=h), (0.0, 0.3, 1.0)),
    "weight_decay": (lambda h: funcsgd.sgd(0.05, 0.9, weight_decay=h), (0.0, 0.1)),
    "weight_decay, Nesterov": (lambda h: funcsgd.sgd(0.05, 0.9, weight_decay=h, nesterov=True), (0.0, 0.1)),
    "max_norm": (clipped, (0.0, 1.3)),
    "max_norm in any order": (lambda h: clipped(h, summation="any"), (0.0, 1.3)),
    "max_norm of another norm": (lambda h: clipped(h, norm_type=3.0), (0.0, 1.3)),
    "clip_value": (lambda h: optax.chain(funcsgd.clip_grad_value(h), funcsgd.sgd(0.05, 0.9)), (0.0, 0.7)),
    "relaxation": (lambda h: searched(relaxation=h), (0.0, 0.6)),
    "damping": (lambda h: searched(damping=h), (0.0, 0.4)),
    "max_step": (lambda h: searched(max_step=h), (0.0, 0.01)),
    "power": (
        lambda h: optax.chain(curvature.scale_by_diagonal(jnp.array([1.0, 2.0, 0.5]), h), funcsgd.sgd(0.05)),
        (0.0, 0.5),
    ),
}
BY_DEFAULT = ("learning_rate", "dampening", "max_norm", "gamma")
MORE = pytest.mark.exhaustive, pytest.mark.thorough
CASES = [  # at 0, where a rule could have a case of its own; the others at length
    pytest.param(name, value, marks=() if value == 0 and name in BY_DEFAULT else MORE[value == 0])
    for name, (_, values) in HYPERPARAMETERS.items()
    for value in values
]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_forward_and_backward_equal_finite_differences(x64, name, value):
    make = HYPERPARAMETERS[name][0]
    run = jax.jit(lambda h: after_a_run(make, h))
    backward = jax.jit(jax.grad(run))(value)
    forward = jax.jit(jax.jacfwd(run))(value)
    h = 1e-4  # of order 4, and one-sided at 0: a hyperparameter is not negative
    points = [float(run(value + k * h)) for k in (range(1, 6) if value == 0 else range(-2, 3))]
    weights = (-77 / 12, 107 / 6, -39 / 2, 61 / 6, -25 / 12) if value == 0 else (1 / 12, -2 / 3, 0, 2 / 3, -1 / 12)
    estimate = sum(w * p for w, p in zip(weights, points, strict=True)) / h
    np.testing.assert_allclose([backward, forward], estimate, rtol=1e-7, atol=1e-8)


def test_a_choice_at_zero_would_be_found(x64):
    def constant_at_zero(h):
        return funcsgd.sgd(0.05, 0.9, weight_decay=jax.lax.stop_gradient(h))

    assert jax.grad(lambda h: after_a_run(constant_at_zero, h))(0.0) == 0
    assert abs(jax.grad(lambda h: after_a_run(HYPERPARAMETERS["weight_decay"][0], h))(0.0)) > 0.1


def test_a_gradient_of_zero_has_a_derivative_through_its_norm():
    for norm_type in (2.0, 3.0):
        tangent = jax.grad(lambda g, p=norm_type: funcsgd.stages.get_total_norm({"a": g}, p))(jnp.zeros(3))
        assert tangent.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["relaxation", "damping", "max_step"])
def test_where_there_is_no_minimum_the_derivative_is_that_of_the_fallback(name):
    def run(value):
        tx = optax.chain(optax.scale(-1.0), curvature.scale_by_quadratic_linesearch(0.1, **{name: value}))
        concave, p = (lambda p: -jnp.sum(p**2)), jnp.array([1.0, 2.0])
        loss, grads = jax.value_and_grad(concave)(p)
        return jnp.sum(tx.update(grads, tx.init(p), p, value=loss, grad=grads, value_fn=concave)[0])

    assert jax.grad(run)(0.05) == (6.0 if name == "max_step" else 0.0)
