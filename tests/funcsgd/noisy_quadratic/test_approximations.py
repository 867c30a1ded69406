"""How far the lecture's rules of thumb are off, technique by technique."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcsgd import noisy_quadratic as nq

X = np.array([1e-4, 0.01, 0.1, 0.9, 1.9])  # learning rate times curvature
ratios = jax.jit(nq.approximation_ratios)


def of(**options):
    return ratios(nq.from_spectrum(X), nq.Rule(1.0, **options))


def test_sgd_alone_is_exact(x64):
    alone = of()
    assert np.allclose(alone.variance, 1, rtol=1e-9)
    assert np.allclose(alone.rate, 1, rtol=1e-9)
    assert np.isclose(alone.risk, 1, rtol=1e-9)


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99])
def test_momentums_variance_is_overstated_by_one_plus_beta_and_more(x64, beta):
    ratio = of(momentum=beta).variance
    assert np.allclose(ratio, (2 * (1 + beta) - X) / (2 - X), rtol=1e-8)
    assert np.isclose(ratio[0], 1 + beta, rtol=1e-3)
    assert (ratio >= 1 + beta).all()
    assert ratio[-1] > 20 * beta


@pytest.mark.thorough
def test_at_equal_speed_small_steps_of_momentum_gain_nothing(x64):
    model, beta = nq.from_spectrum(np.array([1e-6])), 0.9
    momentum, plain = nq.Rule(1.0, momentum=beta), nq.Rule(1.0 / (1 - beta))
    speeds = [float(-jnp.log(nq.convergence_rate(model, rule)[0])) for rule in (momentum, plain)]
    variances = [float(nq.steady_state(model, rule).variance[0]) for rule in (momentum, plain)]
    assert np.isclose(*speeds, rtol=1e-3)
    assert np.isclose(*variances, rtol=1e-3)


def test_momentums_speed_is_right_then_half_then_right_then_too_great(x64):
    beta = 0.9999
    x = jnp.array([1e-4 * (1 - beta) ** 2, (1 - beta**0.5) ** 2, (1 - beta) ** 2 / 2, 0.1 * (1 - beta)])
    speed = ratios(nq.from_spectrum(x), nq.Rule(1.0, momentum=beta))
    assert np.allclose(speed.rate[:3], [1, 0.5, 1], rtol=1e-3)
    assert speed.rate[3] > 100
    assert speed.overdamped[0]
    assert not speed.overdamped[2:].any()
    edge = nq.approximate_steady_state(nq.from_spectrum(np.array([2 * (1 - beta)])), nq.Rule(1.0, momentum=beta))
    assert np.isclose(edge.rate[0], 1)
    assert nq.convergence_rate(nq.from_spectrum(np.array([2 * (1 - beta)])), nq.Rule(1.0, momentum=beta))[0] < beta**0.4


def test_the_averages_factor_is_exact_and_its_speed_is_not(x64):
    gamma = 0.95
    average = of(ema_decay=gamma)
    assert np.allclose(average.variance, 1, rtol=1e-8)
    exact = np.maximum(np.abs(1 - X), gamma)
    assert np.allclose(average.rate, np.log(np.abs(1 - X)) / np.log(exact), rtol=1e-8)
    assert np.isclose(average.rate[2], np.log(0.9) / np.log(0.95))  # twofold


@pytest.mark.thorough
@pytest.mark.parametrize("beta", [*(pytest.param(x, marks=pytest.mark.thorough) for x in (0.0, 0.5)), 0.9])
def test_a_long_average_cancels_momentum(x64, beta):
    model, gamma = nq.from_spectrum(np.array([0.1, 1.0]), c=2.0), 1 - 1e-6
    rule = nq.Rule(1.0, momentum=beta, ema_decay=gamma)
    assert np.allclose(nq.steady_state(model, rule, 8.0).variance, (1 - gamma) / 2 * 2.0 / 8.0 / model.h**2, rtol=1e-3)
    assert np.allclose(ratios(model, rule).variance, (1 + beta) / (1 - beta), rtol=1e-3)


def test_the_preconditioner(x64):
    ratio = of(power=0.5)
    assert np.allclose(ratio.variance, (2 - X**0.5) / (2 - X), rtol=1e-8)
    assert np.allclose(ratio.rate, 1, rtol=1e-8)


def test_weight_decay_lacks_the_shift_alone(x64):
    model = nq.from_spectrum(np.array([1.0, 0.1]), optimum=np.array([1.0, 2.0]))
    rule = nq.Rule(0.5, weight_decay=0.1)
    assert np.allclose(ratios(model, rule).variance, 1, rtol=1e-12)
    assert np.allclose(ratios(model, rule).rate, 1, rtol=1e-12)
    shift = 0.5 * (model.h * (0.1 / (model.h + 0.1) * model.optimum) ** 2).sum()
    missing = nq.steady_state(model, rule).risk - nq.approximate_steady_state(model, rule).risk
    assert np.isclose(missing, shift, rtol=1e-12)
