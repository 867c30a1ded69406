"""Schedulers back to back with ReduceLROnPlateau: torch's doubles after each epoch, with and without 64-bit mode."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from funcsgd import add_momentum, get_learning_rate, sgd
from funcsgd.arithmetic.float64_words import from_words
from funcsgd.schedules import SWALR, ExponentialLR, LambdaLR, StepLR
from funcsgd.schedules.plateau import ReduceLROnPlateau
from funcsgd.stages.scheduled_learning_rate import scale_by_plateau, scale_by_schedulers
from tests.support.torch_schedulers import LEAVES, Draw, optimizer, same_bits, to_ours, to_torch

PLATEAU = ("ReduceLROnPlateau", {"factor": 0.3, "patience": 0})


def torch_rates(configs, learning_rate, metrics):
    """torch's learning rates; None where torch refuses the schedulers."""
    group_of = optimizer(learning_rate)
    try:
        schedulers = [to_torch(config, group_of) for config in configs]
        rates = [group_of.param_groups[0]["lr"]]
        for metric in metrics:
            for scheduler in schedulers:
                scheduler.step(*[metric] * isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau))
            rates.append(group_of.param_groups[0]["lr"])
    except (ArithmeticError, ValueError, NotImplementedError, KeyError, TypeError, IndexError, RuntimeError):
        return None
    return np.array(rates, float)


def our_stage(configs, learning_rate, n):
    schedulers = [
        ReduceLROnPlateau(learning_rate, **config[1]) if config[0] == PLATEAU[0] else to_ours(config, learning_rate)
        for config in configs
    ]
    return scale_by_schedulers(schedulers, n)


def our_rates(stage, metrics):
    """The doubles in the state at the beginning and after each metric, in one scan."""

    def step(state, metric):
        _, state = stage.update((), state, value=metric)
        return state, state.words

    values = np.concatenate([metrics[:1], metrics])  # the first update comes before the first look
    return from_words(jax.jit(lambda m: jax.lax.scan(step, stage.init(()), m)[1])(values))


def draw_case(seed, epochs=24):
    rng = Draw(seed, epochs)
    some = [rng.leaf(rng.choice(LEAVES)) if rng.random() < 0.8 else rng.nest(1) for _ in range(rng.randint(1, 3))]
    some.insert(rng.randint(0, len(some)), PLATEAU)
    if rng.random() < 0.2:
        some.append(PLATEAU)
    metrics = np.float32([rng.choice((0.9, 1.0, 1.1, rng.random(), np.nan)) for _ in range(epochs - 3)])
    return some, rng.choice((0.1, 0.37)), metrics


def compared(seeds):
    """How many of the random cases torch ran; in each of them every double must be torch's."""
    ran = 0
    for seed in seeds:
        configs, learning_rate, metrics = draw_case(seed)
        theirs = torch_rates(configs, learning_rate, metrics)
        if theirs is None or not np.isfinite(theirs).all():
            continue
        assert same_bits(our_rates(our_stage(configs, learning_rate, len(theirs)), metrics), theirs), configs
        ran += 1
    return ran


def test_every_double_is_torchs():
    assert compared(range(12)) > 6


def test_every_double_is_torchs_in_64_bit_mode(x64):
    assert compared(range(100, 106)) > 3


@pytest.mark.exhaustive
def test_every_double_is_torchs_many_times():
    assert compared(range(1000, 1200)) > 120


@pytest.mark.parametrize("name", LEAVES)
def test_each_class_beside_a_plateau(name):
    rng = Draw(name, 24)
    configs, metrics = [rng.leaf(name), PLATEAU], np.float32([1.0] * 21)
    theirs = torch_rates(configs, 0.1, metrics)
    assert same_bits(our_rates(our_stage(configs, 0.1, 22), metrics), theirs), configs


def test_by_hand():
    """Halved after each epoch by one scheduler, and by the other after each bad one; the first is never bad."""
    schedulers = [ExponentialLR(1.0, gamma=0.5), ReduceLROnPlateau(1.0, factor=0.5, patience=0)]
    assert our_rates(scale_by_schedulers(schedulers, 9), np.ones(3)).tolist() == [1.0, 0.5, 0.125, 1 / 32]


def test_beyond_the_last_epoch_the_schedules_are_constant():
    schedulers = [ExponentialLR(1.0, gamma=0.5), ReduceLROnPlateau(1.0, factor=0.1, patience=2)]
    rates = our_rates(scale_by_schedulers(schedulers, 3), np.ones(4))
    assert rates.tolist() == [1.0, 0.5, 0.25, 0.25, 0.25 * 0.1]


def test_without_a_plateau_no_metric_is_needed():
    stage = scale_by_schedulers([StepLR(1.0, 1, gamma=0.5), LambdaLR(1.0, lambda epoch: 1 / epoch if epoch else 1)], 9)
    state = stage.init(())
    for _ in range(3):
        _, state = stage.update((), state)
    assert state.learning_rate == np.float32(1 / 3)  # which the fourth update takes


def test_hyperparameters_of_the_plateau_may_be_traced():
    def last(factor):
        plateau = ReduceLROnPlateau(1.0, factor=factor, patience=0)
        stage = scale_by_schedulers([SWALR(1.0, 0.5, 4), plateau], 9)
        state = stage.init(())
        for _ in range(3):
            _, state = stage.update((), state, value=1.0)
        return state.learning_rate

    assert jax.vmap(last)(jnp.array([0.5, 0.25])).tolist() == [last(0.5), last(0.25)]


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="at least one scheduler, but got none"):
        scale_by_schedulers([], 9)
    with pytest.raises(ValueError, match=r"share one learning_rate, but got \[0.1, 0.2\]"):
        scale_by_schedulers([ExponentialLR(0.1, 0.9), ReduceLROnPlateau(0.2)], 9)
    with pytest.raises(ValueError, match="a stage of its own"):
        scale_by_plateau(ReduceLROnPlateau(np.array([0.1, 0.2])))
    with pytest.raises(ValueError, match="traced hyperparameter"):
        jax.jit(lambda gamma: scale_by_schedulers([ExponentialLR(0.1, gamma)], 9).init(()))(0.5)
    with pytest.raises(ValueError, match="n=0"):
        scale_by_schedulers([ExponentialLR(0.1, 0.9)], 0)
    with pytest.raises(ValueError, match="every=0"):
        scale_by_plateau(ReduceLROnPlateau(0.1), every=0)
    tx = sgd(scale_by_plateau(ReduceLROnPlateau(0.1)))
    with pytest.raises(ValueError, match="value=metric"):
        tx.update(jnp.array([1.0]), tx.init(jnp.array([1.0])))


def test_the_metric_is_looked_at_between_epochs():
    tx = scale_by_plateau(ReduceLROnPlateau(1.0, factor=0.5, patience=0), every=3)
    params = jnp.array([0.0])
    state, steps = tx.init(params), []
    update = jax.jit(tx.update)
    for value in [1.0, 9.0, 9.0, 1.0, 9.0, 9.0, 2.0, 0.0]:
        updates, state = update(jnp.array([1.0]), state, params, value=value)
        steps.append(updates.item())
    assert steps == [-1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -0.5, -0.5]
    assert update._cache_size() == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_run_on_plateaus_is_torchs(dtype):
    """Parameters equal in every bit, the metric known after each epoch of 4 updates."""
    with jax.enable_x64(dtype == np.float64):
        rng = random.Random(0)
        gradients = np.array([[rng.gauss(0, 1) for _ in range(6)] for _ in range(80)], dtype)
        metrics = np.repeat([float(rng.randrange(9)) for _ in range(20)], 4).astype(dtype)

        p = torch.nn.Parameter(torch.ones(6, dtype=torch.from_numpy(gradients).dtype))
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

        plateau = ReduceLROnPlateau(0.1, factor=0.3, patience=1)
        tx = optax.chain(add_momentum(0.9), scale_by_plateau(plateau, every=4))

        def step(carry, batch):
            params, state = carry
            updates, state = tx.update(batch[0], state, params, value=batch[1])
            params = optax.apply_updates(params, updates)
            return (params, state), (params, get_learning_rate(state))

        params = jnp.ones(6, dtype)
        _, (ours, our_rates) = jax.jit(lambda: jax.lax.scan(step, (params, tx.init(params)), (gradients, metrics)))()
        assert len(set(rates)) > 3
        assert np.asarray(our_rates).tobytes() == np.array(rates, dtype).tobytes()
        assert np.asarray(ours).tobytes() == np.array(expected).tobytes()
