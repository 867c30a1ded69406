"""Simulation by the library's own rules against the exact theory, and planted faults that this finds."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from funcsgd import noisy_quadratic as nq
from tests.support.noisy_quadratic_rules import grid, small_model

N_SEEDS = 128
BURN_IN, KEPT = 200, 100  # all rates on the grid are at most 0.95: after 200 steps 1e-9 of the start's risk is left


def over_the_grid(function, *arrays):
    """Call ``function(model, rule, batch_size, ...)`` for every setting, in one array; further arrays are split."""
    model, done, results = small_model(), 0, []
    for rules, batch_sizes in grid():
        n = len(batch_sizes)
        mapped = jax.vmap(lambda rule, batch_size, *rest: function(model, rule, batch_size, *rest))
        results.append(jax.jit(mapped)(rules, batch_sizes, *(x[done : done + n] for x in arrays)))
        done += n
    return jax.tree.map(lambda *xs: np.concatenate(xs), *results)


def simulated(seed, n_steps, burn_in, reduced, n_seeds=N_SEEDS):
    """Means and standard errors of every setting's risks; ``reduced`` makes one number, or several, of a seed's risks.

    Seeds are independent, and so are settings.
    """

    def summary(model, rule, batch_size, key):
        risks = reduced(nq.simulate(key, model, rule, batch_size, n_steps, n_seeds, burn_in).risk)
        return risks.mean(0), jnp.std(risks, axis=0, ddof=1) / n_seeds**0.5

    return over_the_grid(summary, jax.random.split(jax.random.key(seed), 360))


def time_average(risks):
    return risks.mean(1)


def steady_risk(model, rule, batch_size):
    return nq.steady_state(model, rule, batch_size).risk


@pytest.fixture(scope="module")
def steady():
    with jax.enable_x64(True):
        return simulated(0, BURN_IN + KEPT, BURN_IN, time_average)


def plausible(z, n_seeds=N_SEEDS):
    """Whether scores are such as chance makes them, at one in a thousand each for the greatest and for their spread."""
    t = scipy.stats.t(n_seeds - 1)
    greatest = t.isf(0.001 / 2 / len(z))  # Bonferroni
    # The mean of squared t scores: mean and variance from its second and fourth moments.
    spread = (np.mean(z**2) - t.moment(2)) / np.sqrt((t.moment(4) - t.moment(2) ** 2) / len(z))
    return bool(np.abs(z).max() < greatest and abs(spread) < scipy.stats.norm.isf(0.001 / 2))


@pytest.mark.thorough
def test_steady_states_are_within_three_standard_errors(x64, steady):
    """All of 360 settings; but chance puts one of them beyond 3 on average, and what is beyond gets a second hearing.

    It is independent and has eight times the seeds: an error of the theory would be 2.8 times as many standard errors
    away, an accident is forgotten.
    """
    mean, error = steady
    z = (mean - over_the_grid(steady_risk)) / error
    assert z.shape == (360,)
    assert plausible(z)
    beyond = np.flatnonzero(np.abs(z) >= 3)
    chance = 2 * scipy.stats.t(N_SEEDS - 1).sf(3)
    assert scipy.stats.binomtest(len(beyond), 360, chance, alternative="greater").pvalue > 0.001
    settings = [jax.tree.map(lambda x, i=i: x[i], setting) for setting in grid() for i in range(len(setting[1]))]
    for i in beyond:
        assert abs(again(jax.random.key(360 + i), *settings[i])) < 3


@jax.jit
def again(key, rule, batch_size):
    runs = nq.simulate(key, small_model(), rule, batch_size, BURN_IN + KEPT, 8 * N_SEEDS, BURN_IN).risk.mean(1)
    return (runs.mean() - steady_risk(small_model(), rule, batch_size)) / (jnp.std(runs, ddof=1) / len(runs) ** 0.5)


@pytest.mark.thorough
def test_transients_too(x64):
    mean, error = simulated(1, 10, 0, lambda risks: risks)
    exact = over_the_grid(lambda *setting: nq.risk_curve(*setting, 10))[:, 1:]
    for step in (1, 2, 5, 10):
        assert plausible(((mean - exact) / error)[:, step - 1])


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", [1])
def test_other_keys_with_eight_times_the_seeds(x64, seed):
    mean, error = simulated(seed, BURN_IN + KEPT, BURN_IN, time_average, 8 * N_SEEDS)
    assert plausible((mean - over_the_grid(steady_risk)) / error, 8 * N_SEEDS)


def lectures_momentum(m, r, b):
    """(1 + beta) / (1 - beta) for the exact ratio: as much more noise for SGD alone."""
    noise = m.c * (1 + r.momentum) / (1 - r.momentum)
    return m._replace(c=noise), replace(r, momentum=0 * r.momentum, dampening=0 * r.dampening, nesterov=False), b


FAULTS = {  # what is done to model, rule and batch size before the theory sees them
    "the lecture's momentum factor": lectures_momentum,
    "dampening forgotten": lambda m, r, b: (m, replace(r, dampening=0 * r.dampening), b),
    "average forgotten": lambda m, r, b: (m, replace(r, ema_decay=0 * r.ema_decay), b),
    "average a tenth slower": lambda m, r, b: (m, replace(r, ema_decay=1 - 0.9 * (1 - r.ema_decay)), b),
    "Nesterov taken for heavy ball": lambda m, r, b: (m, replace(r, nesterov=False), b),
    "weight decay does not shift the optimum": lambda m, r, b: (m._replace(optimum=0 * m.optimum), r, b),
    "preconditioner scales the noise once": lambda m, r, b: (m._replace(c=m.c * m.h**r.power), r, b),
    "batch size squared": lambda m, r, b: (m, r, b**2),
    "5 % more noise": lambda m, r, b: (m._replace(c=1.05 * m.c), r, b),
}


@pytest.mark.thorough
def test_planted_faults_are_found(x64, steady):
    mean, error = steady
    theory = jax.jit(jax.vmap(steady_risk))

    def faulty(fault):
        planted = [jax.vmap(lambda r, b: fault(small_model(), r, b))(*setting) for setting in grid()]
        return np.concatenate([theory(*setting) for setting in planted])

    assert plausible((mean - faulty(lambda *setting: setting)) / error)
    assert [name for name, fault in FAULTS.items() if plausible((mean - faulty(fault)) / error)] == []


@pytest.mark.thorough
def test_seeds_are_independent_of_their_number(x64):
    model, rule = small_model(), nq.Rule(0.5)
    few, many = (nq.simulate(jax.random.key(0), model, rule, 1.0, 5, n) for n in (2, 3))
    assert np.allclose(few.risk, many.risk[:2], rtol=1e-12)
    assert many.risk.shape == (3, 5)
    assert many.params.shape == (3, 3)
    assert np.allclose(nq.loss(model, many.params), many.risk[:, -1])
    later = nq.simulate(jax.random.key(0), model, rule, 1.0, 5, 3, burn_in=3)
    assert np.allclose(later.risk, many.risk[:, 3:], rtol=1e-12)
