"""Derivatives through runs of adam and adamw with respect to every hyperparameter, against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcsgd
from funcsgd import adam, adamw

START = [3.0, -2.0, 0.5]
TARGETS = [[1.0, 0.5, -1.0], [0.0, 1.0, 2.0], [-1.0, 0.3, 0.4], [2.0, -1.0, 0.0], [0.7, 0.7, 0.7]]
HYPERPARAMETERS = {
    "learning_rate": (adam, (0.0, 0.03)),
    "learning_rate beside a decay": (lambda h: adamw(h, weight_decay=0.1), (0.0, 0.03)),
    "base of a schedule": (lambda h: adamw(funcsgd.schedules.CosineAnnealingLR(h, 5), weight_decay=0.1), (0.0, 0.05)),
    "gamma": (lambda h: adam(funcsgd.schedules.ExponentialLR(0.05, h)), (0.0, 0.7)),
    "beta1": (lambda h: adam(0.1, betas=(h, 0.9)), (0.0, 0.5)),
    "beta2": (lambda h: adam(0.1, betas=(0.9, h)), (0.7,)),
    "beta2, amsgrad": (lambda h: adamw(0.1, betas=(0.9, h), amsgrad=True), (0.7,)),
    "beta of one step": (lambda h: adam(0.1, betas=(lambda n: jnp.where(n == 2, h, 0.9), 0.99)), (0.0, 0.5)),
    "eps": (lambda h: adam(0.1, eps=h), (0.0, 0.3)),
    "weight_decay": (lambda h: adam(0.1, weight_decay=h), (0.0, 0.1)),
    "weight_decay, maximize": (lambda h: adam(0.1, weight_decay=h, maximize=True), (0.0, 0.1)),
    "decoupled weight_decay": (lambda h: adamw(0.1, weight_decay=h), (0.0, 0.1)),
    "decoupled weight_decay of a schedule": (lambda h: adamw(0.1, weight_decay=lambda n: h * 0.5**n), (0.0, 0.1)),
}
BY_DEFAULT = ("base of a schedule", "decoupled weight_decay")
CASES = [
    pytest.param(name, value, marks=() if value == 0 and name in BY_DEFAULT else pytest.mark.thorough)
    for name, (_, values) in HYPERPARAMETERS.items()
    for value in values
]


def loss_fn(params, target):
    return jnp.sum((params - target) ** 2 * jnp.array([1.0, 2.0, 0.5])) + 0.01 * jnp.sum(params**4)


def after_a_run(make, value):
    """The loss after five updates, as a function of one hyperparameter."""
    tx, params = make(value), jnp.array(START)

    def step(carry, target):
        params, state = carry
        updates, state = tx.update(jax.grad(loss_fn)(params, target), state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), jnp.array(TARGETS))
    return loss_fn(params, 1.0)


@pytest.mark.parametrize(("name", "value"), CASES)
def test_forward_and_backward_equal_finite_differences(x64, name, value):
    make = HYPERPARAMETERS[name][0]
    run = jax.jit(lambda h: after_a_run(make, h))
    backward, forward = jax.jit(lambda h: (jax.grad(run)(h), jax.jacfwd(run)(h)))(value)
    h = 1e-4  # of order 4, and one-sided at 0: a hyperparameter is not negative
    points = [float(run(value + k * h)) for k in (range(1, 6) if value == 0 else range(-2, 3))]
    weights = (-77 / 12, 107 / 6, -39 / 2, 61 / 6, -25 / 12) if value == 0 else (1 / 12, -2 / 3, 0, 2 / 3, -1 / 12)
    estimate = sum(w * p for w, p in zip(weights, points, strict=True)) / h
    np.testing.assert_allclose([backward, forward], estimate, rtol=1e-7, atol=1e-8)
    assert abs(backward) > 1e-3


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["gamma", "beta2", "base of a schedule", "beta of one step"])
def test_without_the_64_bit_mode_the_derivative_is_the_same(name):
    """The doubles inside of the rule are differentiated in float32, in a jit and a scan too."""
    value = HYPERPARAMETERS[name][1][-1]

    def run(h):
        return after_a_run(HYPERPARAMETERS[name][0], h)

    backward, forward = jax.jit(lambda h: (jax.grad(run)(h), jax.jacfwd(run)(h)))(value)
    with jax.enable_x64(True):
        expected = float(jax.grad(run)(value))
    assert backward.dtype == jnp.float32
    assert [float(backward), float(forward)] == pytest.approx([expected] * 2, rel=1e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("root", ["correct", "mkl_avx512"])
def test_a_root_from_a_table_has_the_derivative_of_the_root(root):
    def of_beta2(value, root="correct"):
        return after_a_run(lambda h: adam(0.1, betas=(0.9, h), sqrt=root), value)

    with jax.enable_x64(True):
        expected = jax.grad(of_beta2)(0.7)
    assert jax.grad(lambda h: of_beta2(h, root))(0.7) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("argument", ["learning_rate", "eps", "beta1", "beta2"])
def test_a_parameter_that_never_met_a_gradient_has_derivative_zero(argument):
    """Such as the weights of a unit that is never active: an infinite derivative of the root, times 0, is NaN."""

    def moved(value):
        given = {"learning_rate": 0.1, "eps": 1e-8, "beta1": 0.9, "beta2": 0.9, argument: value}
        tx = adam(given["learning_rate"], (given["beta1"], given["beta2"]), given["eps"])
        return tx.update(jnp.zeros(2), tx.init(jnp.ones(2)))[0].sum()

    assert jax.grad(moved)(0.1) == 0.0
