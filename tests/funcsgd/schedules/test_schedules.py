"""Schedules as a user meets them."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from funcsgd import schedules, sgd
from funcsgd.schedules import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    InverseTimeLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    Schedule,
    SequentialLR,
    StepLR,
    per_epoch,
    tabulate,
)
from tests.support.torch_schedulers import LEAVES, WITHOUT_LEARNING_RATE, optimizer, same_bits, torch_class

# By hand.


def test_two_drops_by_hand():
    assert StepLR(1.0, step_size=1, gamma=0.1).table(3).tolist() == [1.0, 0.1, 0.1 * 0.1]


def test_a_table_of_nothing_is_empty():
    assert StepLR(0.1, 30).table(0).shape == (0,)


def test_a_schedule_is_a_value():
    schedule = StepLR(0.1, jnp.int32(30))
    assert schedule == StepLR(0.1, 30)
    assert hash(schedule) == hash(StepLR(0.1, 30))
    assert repr(schedule) == "StepLR(learning_rate=0.1, last_epoch=-1, initial_lr=None, step_size=30, gamma=0.1)"


def test_sequences_in_a_schedule_are_values_too():
    steps, nest = MultiStepLR(0.1, [2, 4]), SequentialLR(0.1, [StepLR(0.1, 9), StepLR(0.1, 8)], [3])
    assert (steps.milestones, nest.milestones) == ((2, 4), (3,))
    assert hash(steps) == hash(MultiStepLR(0.1, (2, 4)))
    assert hash(nest) == hash(dataclasses.replace(nest, schedulers=list(nest.schedulers)))
    assert dataclasses.replace(nest, milestones=[5]).milestones == (5,)


def test_a_cycle_of_epochs_is_one_of_steps():
    cycle = OneCycleLR(0.5, epochs=3, steps_per_epoch=5)
    assert cycle == OneCycleLR(0.5, 15)
    assert dataclasses.replace(cycle, max_lr=1.0) == OneCycleLR(1.0, 15)


def test_a_schedule_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        StepLR(0.1, 30).gamma = 0.5


@pytest.mark.parametrize("name", [*LEAVES, "SequentialLR", "ReduceLROnPlateau"])
def test_arguments_are_torchs(name):
    """By name, order and default; a learning rate takes the place of the optimizer, and last_epoch is a keyword."""
    theirs = dict(inspect.signature(torch_class(name)).parameters)
    ours = dict(inspect.signature(getattr(schedules, name)).parameters)
    first = None if name in WITHOUT_LEARNING_RATE else ours.pop("learning_rate")
    assert first is None or first.default is first.empty
    del theirs["optimizer"]
    theirs.pop("last_epoch", None)
    keywords = [ours.pop(key) for key in ("last_epoch", "initial_lr") if key in ours]
    assert all(each.kind is inspect.Parameter.KEYWORD_ONLY for each in keywords)
    assert [(key, value.default) for key, value in ours.items()] == [(k, v.default) for k, v in theirs.items()]


def test_a_factor_of_one_is_a_constant_learning_rate():
    assert set(ConstantLR(0.1, factor=1.0).table(20)) == {0.1}


def test_inverse_time_is_the_lectures_lambda():
    scheduler = torch.optim.lr_scheduler.LambdaLR(sgd_ := optimizer(0.1), lambda epoch: 1.0 / (1.0 + 0.01 * epoch))
    rates = []
    for _ in range(1000):
        rates.append(sgd_.param_groups[0]["lr"])
        scheduler.step()
    assert same_bits(InverseTimeLR(0.1, beta=0.01).table(1000), rates)


def test_a_tracer_has_no_table():
    with pytest.raises(ValueError, match="calculated on the host"):
        jax.jit(lambda gamma: ExponentialLR(0.1, gamma).table(3))(0.9)


def test_an_array_of_hyperparameters_needs_vmap():
    with pytest.raises(ValueError, match="vmap"):
        ExponentialLR(0.1, jnp.array([0.9, 0.8]))


def test_a_user_function_of_jax_numpy_has_a_table_inside_jit():
    def rate(count):
        schedule = LambdaLR(0.5, lambda epoch: jnp.exp2(-epoch))
        return tabulate(schedule, 3)(count)

    assert jax.jit(rate)(2) == 0.125


# What an optimizer reads.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("schedule", "scheduler"),
    [
        (CosineAnnealingLR(0.1, 77, 1e-4), lambda sgd: torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 77, 1e-4)),
        (ExponentialLR(0.1, 0.7), lambda sgd: torch.optim.lr_scheduler.ExponentialLR(sgd, 0.7)),  # to subnormals
        (LinearLR(0.1, 0.1, total_iters=99), lambda sgd: torch.optim.lr_scheduler.LinearLR(sgd, 0.1, 1.0, 99)),
    ],
)
def test_tabulate_is_torch_after_one_cast(schedule, scheduler, dtype):
    theirs, rates = scheduler(group := optimizer(0.1)), []
    for _ in range(300):
        rates.append(group.param_groups[0]["lr"])
        theirs.step()
    with jax.enable_x64(dtype is np.float64):
        ours = jax.jit(jax.vmap(tabulate(schedule, 300)))(jnp.arange(300))
        assert ours.dtype == dtype
        assert np.asarray(ours).tobytes() == np.array(rates).astype(dtype).tobytes()


def test_a_tabulated_schedule_stays_at_its_ends():
    rate = tabulate(StepLR(1.0, 1, gamma=0.5), 3)
    assert [rate(count) for count in (-5, 0, 2, 3, 100)] == [1.0, 1.0, 0.25, 0.25, 0.25]


def test_per_epoch_counts_steps():
    rate = per_epoch(tabulate(StepLR(1.0, 1, gamma=0.5), 3), steps_per_epoch=2)
    assert [float(rate(step)) for step in range(7)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_sgd_follows_torch_through_a_cycle():
    """Learning rate and momentum from the tables, parameters equal in every bit to torch's at each step."""
    n, rng = 40, np.random.default_rng(0)
    gradients = rng.standard_normal((n, 5)).astype(np.float32)
    schedule = OneCycleLR(0.5, total_steps=n, three_phase=True)

    p = torch.nn.Parameter(torch.ones(5))
    theirs = torch.optim.SGD([p], lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(theirs, 0.5, total_steps=n, three_phase=True)
    expected = []
    for g in gradients:
        p.grad = torch.tensor(g)
        theirs.step()
        scheduler.step()
        expected.append(p.detach().numpy().copy())

    tx = sgd(tabulate(schedule, n), momentum=tabulate(schedule.momentum, n))

    def step(carry, g):
        params, state = carry
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    params = jnp.ones(5)
    _, ours = jax.jit(lambda: jax.lax.scan(step, (params, tx.init(params)), gradients))()
    assert np.array_equal(ours, np.array(expected))


def test_schedules_are_pure():
    schedule = CosineAnnealingWarmRestarts(0.1, 5, 2)
    assert isinstance(schedule, Schedule)
    first = schedule.table(50)
    schedule.table(7)
    assert same_bits(first, schedule.table(50))
