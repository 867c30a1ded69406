"""The steady state against SciPy's Lyapunov solver, matrices' eigenvalues, and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from funcsgd import noisy_quadratic as nq
from tests.support.noisy_quadratic_rules import single_rules, small_model

steady_state, convergence_rate = jax.jit(nq.steady_state), jax.jit(nq.convergence_rate)


def recursion(rule, h, c, batch_size):
    """The recursion's matrix and noise, written down a second time, from torch's algorithm line by line."""
    w, b, a, noise = np.eye(4)  # of a state (w, b, a) about its limit, and the noise of variance 1

    g = h**-rule.power * ((h + rule.weight_decay) * w + np.sqrt(c / batch_size) * noise)
    b = rule.momentum * b + (1 - rule.dampening) * g
    w = w - rule.learning_rate * (g + rule.momentum * b if rule.nesterov else b)
    a = rule.ema_decay * a + (1 - rule.ema_decay) * w
    state = np.stack([w, b, a])
    return state[:, :3], state[:, 3]


def test_against_scipys_lyapunov_solver_and_eigenvalues(x64):
    model = small_model()
    for rule in single_rules():
        state, rates = steady_state(model, rule, 4.0), convergence_rate(model, rule)
        for h, c, variance, rate in zip(model.h, model.c, state.variance, rates, strict=True):
            matrix, noise = recursion(rule, float(h), float(c), 4.0)
            exact = scipy.linalg.solve_discrete_lyapunov(matrix, np.outer(noise, noise))
            eigenvalues = np.abs(np.linalg.eigvals(matrix))
            # A pair of eigenvalues that (nearly) meet is known to half the digits only.
            assert np.isclose(rate, eigenvalues.max(), rtol=3e-8, atol=3e-8), rule
            assert np.isclose(variance, exact[2, 2], rtol=1e-10), rule
        shift = model.h / (model.h + rule.weight_decay) * model.optimum - model.optimum
        assert np.isclose(state.risk, 0.5 * (model.h * (shift**2 + state.variance)).sum(), rtol=1e-14)


ALPHAS = np.array([1e-3, 0.1, 0.5, 1.0, 1.9])


def variances(**options):
    model = nq.from_spectrum(np.array([1.0, 0.3, 0.01]), c=np.array([1.0, 0.5, 2.0]))
    return model, jax.jit(jax.vmap(lambda a: nq.steady_state(model, nq.Rule(a, **options), 8.0).variance))(ALPHAS)


def test_closed_form_of_sgd(x64):
    model, variance = variances()
    alpha = ALPHAS[:, None]
    assert np.allclose(variance, alpha * model.c / 8 / (model.h * (2 - alpha * model.h)), rtol=1e-12)


@pytest.mark.parametrize(("beta", "dampening"), [(0.5, 0.0), (0.9, 0.0), (0.99, 0.5)])
def test_closed_form_of_momentum(x64, beta, dampening):
    model, variance = variances(momentum=beta, dampening=dampening)
    alpha = ALPHAS[:, None] * (1 - dampening)
    closed = alpha * (1 + beta) * model.c / 8 / (model.h * (1 - beta) * (2 * (1 + beta) - alpha * model.h))
    assert np.allclose(variance, closed, rtol=1e-11)


@pytest.mark.thorough
@pytest.mark.parametrize("gamma", [0.5, 0.99, 0.9999])
def test_closed_form_of_the_average(x64, gamma):
    model, variance = variances(ema_decay=gamma)
    r = 1 - ALPHAS[:, None] * model.h
    factor = (1 - gamma) * (1 + r * gamma) / ((1 + gamma) * (1 - r * gamma))
    assert np.allclose(variance, variances()[1] * factor, rtol=1e-11)


@pytest.mark.thorough
@pytest.mark.parametrize("power", [0.25, 1.0])
def test_closed_form_of_the_preconditioner_and_weight_decay(x64, power):
    model = nq.from_spectrum(np.array([1.0, 0.3, 0.01]))
    state = steady_state(model, nq.Rule(0.4, weight_decay=0.2, power=power), 8.0)
    q, s = model.h**-power * (model.h + 0.2), model.h ** (-2 * power) * model.c / 8
    assert np.allclose(state.variance, np.where(0.4 * q < 2, 0.4 * s / (q * (2 - 0.4 * q)), np.inf), rtol=1e-12)
    assert (state.stable == (0.4 * q < 2)).all()


def test_critical_momentum_is_a_double_root(x64):
    h = 0.04
    rule = nq.Rule(1.0, momentum=(1 - np.sqrt(h)) ** 2)
    assert np.isclose(convergence_rate(nq.from_spectrum(np.array([h])), rule)[0], 0.8, atol=1e-7)
    above = nq.Rule(1.0, momentum=0.81)
    assert np.isclose(convergence_rate(nq.from_spectrum(np.array([h])), above)[0], 0.9, rtol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("beta", [0.1, 0.9, 0.999])
def test_the_greatest_stable_learning_rate(x64, nesterov, beta):
    model = small_model()
    for options in ({}, {"power": 0.5, "weight_decay": 0.1}, {} if nesterov else {"dampening": 0.5}):
        most = float(nq.max_learning_rate(model, nq.Rule(0.0, beta, nesterov=nesterov, **options)))
        inside, outside = (nq.Rule(most * x, beta, nesterov=nesterov, **options) for x in (1 - 1e-6, 1 + 1e-6))
        assert steady_state(model, inside).stable.all()
        assert not steady_state(model, outside).stable.all()


@pytest.mark.thorough
def test_what_is_unstable_is_infinite_with_finite_gradients(x64):
    model = small_model()
    state = steady_state(model, nq.Rule(3.0))
    assert state.stable.tolist() == [False, True, True]
    assert np.isinf(state.risk)
    assert np.isinf(state.variance).tolist() == [True, False, False]
    assert np.isfinite(jax.jit(jax.grad(lambda a: nq.steady_state(model, nq.Rule(a)).variance[1]))(3.0))
    assert not steady_state(model, nq.Rule(0.0)).stable.any()


def test_without_noise_only_the_shift_of_the_optimum_remains(x64):
    model = nq.from_spectrum(np.array([1.0, 0.1]), optimum=np.array([2.0, 3.0]))
    state = steady_state(model, nq.Rule(0.1, weight_decay=0.1), jnp.inf)
    assert np.allclose(state.mean, [2 / 1.1, 1.5])
    assert np.isclose(state.risk, 0.5 * (1.0 * (0.2 / 1.1) ** 2 + 0.1 * 1.5**2))


@pytest.mark.thorough
def test_float32_keeps_most_of_its_digits(x64):
    """Steps of D, not of I - D: nothing near 1 is subtracted, so a rate of 1 - 1e-6 costs no digits."""
    model = nq.from_spectrum(np.array([1.0, 1e-2]))
    single = jax.tree.map(lambda x: x.astype(jnp.float32), model)
    for rule in (nq.Rule(1e-4), nq.Rule(1e-4, 0.99), nq.Rule(1e-4, 0.99, ema_decay=0.9999)):
        exact, ours = steady_state(model, rule), steady_state(single, rule)
        assert ours.risk.dtype == jnp.float32
        assert np.allclose(ours.variance, exact.variance, rtol=1e-5)
