"""ReduceLROnPlateau by hand, then against torch at every epoch, on the host, in jit and in scan."""

import itertools
import random

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from funcsgd import add_momentum, get_learning_rate
from funcsgd.plateau import reduce_lr_on_plateau, scale_by_plateau
from tests.funcsgd.torch_schedulers import optimizer, same_bits

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
        for our, their in zip(ours, theirs, strict=True):
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
        for name, their, compiled in zip(states[0]._fields, theirs, run(plateau, metrics), strict=True):
            assert same_bits([getattr(state, name) for state in states[1:]], their), given
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


def test_without_64_bits_the_rates_are_torchs_to_float32():
    metrics = [3.0, 2.0, *[2.0] * 60]
    theirs = torch_run(0.1, metrics, factor=0.5, patience=3)[0]
    ours = run(reduce_lr_on_plateau(0.1, factor=0.5, patience=3), metrics).learning_rate
    assert ours.dtype == jnp.float32
    assert np.array_equal(ours, theirs.astype(np.float32))  # halving is exact in both


# As an optax transformation.


def test_the_metric_is_looked_at_between_epochs():
    tx = scale_by_plateau(reduce_lr_on_plateau(1.0, factor=0.5, patience=0), every=3)
    params = jnp.array([0.0])
    state, steps = tx.init(params), []
    update = jax.jit(tx.update)
    for value in [1.0, 9.0, 9.0, 1.0, 9.0, 9.0, 2.0, 0.0]:
        updates, state = update(jnp.array([1.0]), state, params, value=value)
        steps.append(updates.item())
    assert steps == [-1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -0.5, -0.5]
    assert update._cache_size() == 1


def test_a_missing_metric_says_how_to_pass_it():
    tx = scale_by_plateau(reduce_lr_on_plateau(0.1))
    with pytest.raises(ValueError, match="value=metric"):
        tx.update(jnp.array([1.0]), tx.init(jnp.array([1.0])))


def test_several_learning_rates_are_several_stages():
    with pytest.raises(ValueError, match="a stage of its own"):
        scale_by_plateau(reduce_lr_on_plateau(np.array([0.1, 0.2])))


def test_a_run_on_plateaus_is_torchs(x64):
    """A chain with momentum: parameters equal in every bit, the metric known after each epoch of 4 updates."""
    rng = np.random.default_rng(0)
    gradients, metrics = rng.standard_normal((80, 6)), np.repeat(rng.integers(0, 9, 20).astype(float), 4)

    p = torch.nn.Parameter(torch.ones(6, dtype=torch.float64))
    theirs = torch.optim.SGD([p], lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, factor=0.3, patience=1)
    expected, rates = [], []
    for i, g in enumerate(gradients):
        if i and i % 4 == 0:
            scheduler.step(metrics[i])
        p.grad = torch.tensor(g)
        theirs.step()
        expected.append(p.detach().numpy().copy())
        rates.append(theirs.param_groups[0]["lr"])

    tx = optax.chain(add_momentum(0.9), scale_by_plateau(reduce_lr_on_plateau(0.1, factor=0.3, patience=1), every=4))

    def step(carry, batch):
        params, state = carry
        updates, state = tx.update(batch[0], state, params, value=batch[1])
        params = optax.apply_updates(params, updates)
        return (params, state), (params, get_learning_rate(state))

    params = jnp.ones(6)
    _, (ours, our_rates) = jax.jit(lambda: jax.lax.scan(step, (params, tx.init(params)), (gradients, metrics)))()
    assert len(set(rates)) > 3
    assert same_bits(our_rates, rates)
    assert same_bits(ours, expected)
