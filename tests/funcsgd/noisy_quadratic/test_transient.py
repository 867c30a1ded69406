"""The risk along a run, against a matrix recursion by hand, a run without noise, and its own limit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from funcsgd import noisy_quadratic as nq
from funcsgd.averages import averaged_params
from funcsgd.schedules import step_lr
from tests.support.noisy_quadratic_rules import grid, small_model


def test_sgd_by_hand(x64):
    model, alpha, k = nq.from_spectrum(np.array([0.5]), c=2.0, start=3.0), 0.4, 5
    r = 1 - alpha * 0.5
    exact = 0.5 * 0.5 * (9 * r ** (2 * k) + alpha**2 * 2.0 / 8 * (1 - r ** (2 * k)) / (1 - r**2))
    assert np.isclose(nq.risk_at(model, nq.Rule(alpha), 8.0, k), exact, rtol=1e-14)


@pytest.mark.thorough
def test_without_noise_the_risk_is_the_runs_own(x64):
    """The damped first step, the copied first average: the library's rule, run, has the risk that is predicted."""
    model = small_model()
    for rules, _ in grid():

        def run(rule):
            tx = nq.optimizer(rule, model.h)

            def step(carry, _):
                w, state = carry
                updates, state = tx.update(model.h * (w - model.optimum), state, w)
                return (optax.apply_updates(w, updates), state), nq.loss(model, averaged_params(state))

            return jax.lax.scan(step, (model.start, tx.init(model.start)), length=50)[1]

        ran = jax.jit(jax.vmap(run))(rules)
        predicted = jax.jit(jax.vmap(lambda rule: nq.risk_curve(model, rule, jnp.inf, 50)))(rules)
        assert np.allclose(predicted[:, 0], nq.loss(model, model.start))
        assert np.allclose(ran, predicted[:, 1:], rtol=1e-9, atol=1e-13)


@pytest.mark.thorough
def test_one_step_at_a_time_is_repeated_squaring_and_tends_to_the_steady_state(x64):
    model, steps = small_model(), jnp.array([0, 1, 2, 3, 17, 400])

    def three(rule, batch_size):
        some = jax.lax.map(lambda step: nq.risk_at(model, rule, batch_size, step), steps)
        end = nq.steady_state(model, rule, batch_size).risk
        return nq.risk_curve(model, rule, batch_size, 400), some, end

    for rules, batch_sizes in grid():
        curves, some, ends = jax.jit(jax.vmap(three))(rules, batch_sizes)
        assert np.allclose(some, curves[:, steps], rtol=1e-11)
        assert np.allclose(curves[:, -1], ends, rtol=1e-10)


def test_two_billion_steps(x64):
    model, rule = nq.from_spectrum(np.array([1.0, 1e-3])), nq.Rule(1e-3, 0.9)
    end = nq.steady_state(model, rule).risk
    assert np.isclose(nq.risk_at(model, rule, 1.0, 2**31 - 1), end, rtol=1e-8)


@pytest.mark.thorough
def test_a_schedule_of_learning_rates(x64):
    model, rule = small_model(), nq.Rule(0.5, momentum=0.9)
    curve = jax.jit(lambda rule, rates: nq.risk_curve(model, rule, 4.0, 400, rates))
    flat = nq.risk_curve(model, rule, 4.0, 400)
    assert np.allclose(curve(nq.Rule(9.0, momentum=0.9), np.full(400, 0.5)), flat, rtol=1e-14)
    decayed = curve(rule, step_lr(0.5, step_size=200, gamma=0.1).table(400))
    assert np.allclose(decayed[:201], flat[:201], rtol=1e-14)
    tenth = nq.steady_state(model, nq.Rule(0.05, momentum=0.9), 4.0).risk
    assert np.isclose(decayed[-1], tenth, rtol=0.02)


def test_an_unstable_rule_has_a_risk_that_grows(x64):
    model, rule = nq.from_spectrum(np.array([1.0]), c=0.0), nq.Rule(3.0)
    assert float(nq.risk_at(model, rule, 1.0, 10)) == pytest.approx(0.5 * 4.0**10)
