"""Steps to a target against the whole curve; and what Zhang et al. 2019 found, as orders and powers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcsgd import noisy_quadratic as nq
from tests.support.noisy_quadratic_rules import grid, small_model


@pytest.mark.thorough
def test_the_first_crossing_of_the_curve(x64):
    model, target = small_model(), 0.3

    def both(rule, batch_size):
        return nq.steps_to_target(model, rule, batch_size, target), nq.risk_curve(model, rule, batch_size, 500)

    compared = 0
    for rules, batch_sizes in grid():
        found, curves = jax.jit(jax.vmap(both))(rules, batch_sizes)
        for steps, crossing, curve in zip(found.steps, found.crossing, np.asarray(curves), strict=True):
            below = curve <= target
            if np.isinf(steps):
                assert not below[-1]
                continue
            k = int(steps)
            assert below[k]
            assert not below[k - 1]
            assert k - 1 < crossing <= k
            if (np.diff(curve[: k + 1]) < 0).all():  # else it swings, and this is one crossing of several
                assert k == below.argmax()
                compared += 1
    assert compared > 100


def test_ends(x64):
    model = nq.from_spectrum(np.array([1.0, 0.1]), c=0.0)

    @jax.jit
    def steps(alpha, target, model=model):
        return nq.steps_to_target(model, nq.Rule(alpha), 1.0, target).steps

    assert steps(0.5, 1.0) == 0  # met at the start
    assert steps(1.0, 0.05) == 1  # the steep coordinate at once
    assert np.isinf(steps(2.5, 0.01))  # unstable
    assert np.isinf(steps(0.0, 0.01))
    assert np.isinf(steps(1e-9, 0.01))  # more than eight million
    noisy = nq.from_spectrum(np.array([1.0]))
    assert np.isinf(steps(0.5, 0.1, noisy))  # the noise is 1 / 6


@pytest.mark.thorough
def test_without_noise_the_best_learning_rate_balances_the_extremes(x64):
    model = nq.from_spectrum(np.array([1.0, 0.1]), c=0.0)
    best = jax.jit(lambda: nq.optimal_rule(model, 1.0, 1e-12))()
    assert np.isclose(best.rule.learning_rate, 2 / 1.1, rtol=0.03)
    brute = jax.jit(jax.vmap(lambda a: nq.steps_to_target(model, nq.Rule(a), 1.0, 1e-12).steps))(np.linspace(1, 2, 999))
    assert best.steps == brute.min()


def test_what_cannot_be_tuned_or_reached():
    model = nq.power_law(3)
    for tune in (("dampening",), ()):
        with pytest.raises(ValueError, match=r"tune may name learning_rate, momentum, ema_decay, power, but got"):
            nq.optimal_rule(model, 1, 0.1, tune)
    assert np.isinf(jax.jit(lambda: nq.optimal_rule(model, 1, 1e-12, n_rounds=2).steps)())


BATCH_SIZES = 8.0 ** np.arange(6)
TUNED = {
    "SGD": (("learning_rate",), nq.Rule(0.0)),
    "momentum": (("learning_rate", "momentum"), nq.Rule(0.0)),
    "average": (("learning_rate", "ema_decay"), nq.Rule(0.0)),
    "preconditioner": (("learning_rate",), nq.Rule(0.0, power=0.5)),
}


@pytest.fixture(scope="module")
def tuned():
    """The best of each technique at every batch size, on the paper's spectrum."""
    with jax.enable_x64(True):
        model, found = nq.power_law(100), {}
        for name, (tune, rule) in TUNED.items():

            def best(batch_size, tune=tune, rule=rule):
                return nq.optimal_rule(model, batch_size, 0.02, tune, rule, n_grid=7, n_rounds=6)

            found[name] = jax.jit(lambda sizes, best=best: jax.lax.map(best, sizes))(jnp.asarray(BATCH_SIZES))
        return found


@pytest.mark.thorough
def test_what_the_paper_found(tuned):
    steps = {name: np.asarray(best.steps) for name, best in tuned.items()}
    powers = {name: np.diff(np.log(x)) / np.log(8) for name, x in steps.items()}

    # Perfect scaling, steps as 1 / batch size, and then none: a critical batch size. The learning rate goes with it.
    for name in TUNED:
        assert abs(powers[name][0] + 1) < 0.1, name
        assert abs(powers[name][-1]) < 0.05, name
        assert (powers[name] < 0.02).all(), name
    rates = np.diff(np.log(tuned["SGD"].rule.learning_rate)) / np.log(8)
    assert abs(rates[0] - 1) < 0.1
    assert abs(rates[-1]) < 0.05

    # Momentum: nothing to gain at small batches, much at large ones; perfect scaling lasts longer.
    assert 0.85 < steps["momentum"][0] / steps["SGD"][0] <= 1.01
    assert steps["momentum"][-1] < steps["SGD"][-1] / 4
    # The average: the other way round.
    assert steps["average"][0] < steps["SGD"][0] / 3
    assert 0.9 < steps["average"][-1] / steps["SGD"][-1] < 1.1
    # The preconditioner helps at every size, most at large ones.
    gain = steps["SGD"] / steps["preconditioner"]
    assert gain.min() > 1
    assert gain[-1] > 2 * gain[0]

    # The critical batch size, where perfect scaling would meet the fewest steps of all.
    critical = {name: x[0] * BATCH_SIZES[0] / x[-1] for name, x in steps.items()}
    assert critical["average"] < critical["SGD"] / 2
    assert critical["momentum"] > 2 * critical["SGD"]
    assert critical["preconditioner"] > 2 * critical["SGD"]
