"""ReduceLROnPlateau by hand, then against torch at every epoch, on the host, in jit and in scan."""

import itertools
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from funcsgd.arithmetic.float64_words import from_words
from funcsgd.schedules.plateau import reduce_lr_on_plateau
from tests.support.torch_schedulers import optimizer, same_bits

MODES = list(itertools.product(["min", "max"], ["rel", "abs"]))


def run(plateau, metrics):
    """Learning rates after each metric, in one compiled scan."""

    def step(state, metric):
        state = plateau.update(metric, state)
        return state, state

    return jax.jit(lambda m: jax.lax.scan(step, plateau.init(), m)[1])(jnp.asarray(metrics))


def torch_run(learning_rate, metrics, **arguments):
    """The same, and the rest of the state, by torch's class."""
    sgd = optimizer(learning_rate)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(sgd, **arguments)
    states = []
    for metric in metrics:
        scheduler.step(metric)
        lr = sgd.param_groups[0]["lr"]
        states.append((lr, scheduler.best, scheduler.num_bad_epochs, scheduler.cooldown_counter))
    return [np.array(column) for column in zip(*states, strict=True)]


def columns(state):
    """Our state, laid out as torch_run lays out torch's."""
    return [state.learning_rate, state.best, state.num_bad_epochs, state.cooldown_counter]


def draw_arguments(rng):
    return {
        "factor": rng.choice((0.1, 0.5, 0.0, rng.uniform(0.1, 0.999))),
        "patience": rng.choice((0, 0, 1, 2, 5, -1)),
        "threshold": rng.choice((1e-4, 0.0, 1.0, rng.uniform(0, 0.3))),
        "cooldown": rng.choice((0, 0, 1, 3)),
        "min_lr": rng.choice((0.0, 0, 1e-3, 0.05)),
        "eps": rng.choice((1e-8, 0.0, 1e-3)),
    }


def draw_metrics(rng, n):
    """A walk with plateaus, negative stretches and, now and then, what a diverging run reports."""
    value, metrics = rng.choice((1.0, 0.0, -1.0)), []
    for _ in range(n):
        value += rng.choice((0.0, 0.0, 1e-4, -1e-4, rng.gauss(0, 0.3)))
        odd = rng.random()
        metrics.append(rng.choice((np.nan, np.inf, -np.inf, 0.0, -0.0)) if odd < 0.08 else value)
    return metrics


# By hand.


def test_patience_is_how_many_bad_epochs_are_borne():
    rates = run(reduce_lr_on_plateau(1.0, factor=0.5, patience=2), [3.0, 3.0, 3.0, 3.0, 3.0]).learning_rate
    assert rates.tolist() == [1.0, 1.0, 1.0, 0.5, 0.5]


def test_cooldown_forgives():
    rates = run(reduce_lr_on_plateau(1.0, factor=0.5, patience=0, cooldown=2), [3.0] * 7).learning_rate
    assert rates.tolist() == [1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_nan_is_never_better():
    state = run(reduce_lr_on_plateau(1.0, factor=0.5, patience=0), [np.nan, 1.0, np.nan])
    assert state.learning_rate.tolist() == [0.5, 0.5, 0.25]
    assert state.best.tolist() == [np.inf, 1.0, 1.0]


def test_a_reduction_within_eps_is_not_made_but_cools_down():
    state = run(reduce_lr_on_plateau(1.0, factor=0.5, patience=0, cooldown=4, eps=0.5), [1.0, 1.0])
    assert state.learning_rate.tolist() == [1.0, 1.0]
    assert state.cooldown_counter.tolist() == [0, 4]


def test_negative_metrics_move_a_relative_threshold_the_lenient_way():
    state = run(reduce_lr_on_plateau(1.0, threshold=0.1), [-1.0, -0.95])
    assert state.best.tolist() == pytest.approx([-1.0, -0.95])


def test_groups_have_bounds_of_their_own():
    plateau = reduce_lr_on_plateau(np.array([1.0, 0.5]), factor=0.5, patience=0, min_lr=np.array([0.75, 0.0]))
    assert run(plateau, [1.0, 1.0, 1.0]).learning_rate.tolist() == [[1.0, 0.5], [0.75, 0.25], [0.75, 0.125]]


def test_state_keeps_its_types():
    plateau = reduce_lr_on_plateau(0.1)
    before, after = plateau.init(), plateau.update(1, plateau.init())
    assert jax.tree.map(lambda x: (x.shape, x.dtype), before) == jax.tree.map(lambda x: (x.shape, x.dtype), after)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factor": 1.0}, "Factor should be < 1.0."),
        ({"mode": "mid"}, "mode mid is unknown!"),
        ({"threshold_mode": "both"}, "threshold mode both is unknown!"),
        ({"min_lr": np.zeros(2)}, "expected 1 min_lrs, got 2"),
        ({"learning_rate": -1.0}, "Invalid learning rate: -1.0"),
    ],
)
def test_what_torch_refuses_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        reduce_lr_on_plateau(**{"learning_rate": 0.1} | arguments)


# Against torch.


@pytest.mark.parametrize(("mode", "threshold_mode"), MODES)
def test_every_epoch_is_torchs(x64, mode, threshold_mode):
    """250 sequences for each mode, 60 epochs, one compiled program: all hyperparameters are traced."""
    rng = random.Random(f"{mode} {threshold_mode}")
    drawn = [(rng.choice((0.1, 1.0, rng.random())), draw_arguments(rng), draw_metrics(rng, 60)) for _ in range(250)]

    def states(learning_rate, arguments, metrics):
        return run(reduce_lr_on_plateau(learning_rate, mode, threshold_mode=threshold_mode, **arguments), metrics)

    rates, arguments, metrics = (
        np.array([rate for rate, _, _ in drawn]),
        {key: np.array([a[key] for _, a, _ in drawn]) for key in drawn[0][1]},
        np.array([m for _, _, m in drawn]),
    )
    ours = jax.jit(jax.vmap(states))(rates, arguments, metrics)
    for i, (rate, given, values) in enumerate(drawn):
        theirs = torch_run(rate, values, mode=mode, threshold_mode=threshold_mode, **given)
        for our, their in zip(columns(ours), theirs, strict=True):
            assert same_bits(our[i], their), (given, values)


@pytest.mark.parametrize(("mode", "threshold_mode"), MODES)
def test_python_hyperparameters_are_torchs_traced_or_not(x64, mode, threshold_mode):
    rng = random.Random(f"{mode} {threshold_mode} python")
    for _ in range(5):
        given, metrics = draw_arguments(rng), draw_metrics(rng, 40)
        theirs = torch_run(0.1, metrics, mode=mode, threshold_mode=threshold_mode, **given)
        plateau = reduce_lr_on_plateau(0.1, mode, threshold_mode=threshold_mode, **given)
        states = [plateau.init()]
        for metric in metrics:
            states.append(plateau.update(metric, states[-1]))
        eager = zip(*map(columns, states[1:]), strict=True)
        for our, their, compiled in zip(eager, theirs, columns(run(plateau, metrics)), strict=True):
            assert same_bits(our, their), given
            assert same_bits(compiled, their), given


def test_groups_are_torchs(x64):
    metrics = draw_metrics(random.Random(0), 80)
    sgd = optimizer(0.1, 0.03)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(sgd, factor=0.7, patience=1, min_lr=[0.02, 0.0])
    rates = []
    for metric in metrics:
        scheduler.step(metric)
        rates.append([group["lr"] for group in sgd.param_groups])
    plateau = reduce_lr_on_plateau(np.array([0.1, 0.03]), factor=0.7, patience=1, min_lr=np.array([0.02, 0.0]))
    assert same_bits(run(plateau, metrics).learning_rate, rates)


@pytest.mark.parametrize(("mode", "threshold_mode"), MODES)
def test_without_64_bits_the_doubles_are_torchs(mode, threshold_mode):
    """The metric is a float32 on both sides; half of the thresholds fall on it to the last bit."""
    rng = random.Random(f"{mode} {threshold_mode} float32")
    for _ in range(5):
        given, metrics = draw_arguments(rng), np.float32(draw_metrics(rng, 60))
        metrics[30:] = metrics[29] * np.float32(1 - given["threshold"])
        theirs = torch_run(0.1, metrics, mode=mode, threshold_mode=threshold_mode, **given)
        ours = run(reduce_lr_on_plateau(0.1, mode, threshold_mode=threshold_mode, **given), metrics)
        assert ours.learning_rate.dtype == jnp.float32
        assert same_bits(from_words(ours.words), theirs[0]), given
        for our, their in zip(columns(ours), theirs, strict=True):
            assert np.array_equal(our, their.astype(our.dtype), equal_nan=True), given
