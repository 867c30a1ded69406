"""Tables against torch itself: equal in every bit, as far as torch gets, and then the same error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcsgd.schedules import StepLR, tabulate
from tests.support.torch_schedulers import (
    LEAVES,
    WITH_CLOSED_FORM,
    Draw,
    optimizer,
    same_bits,
    to_ours,
    to_torch,
    torch_tables,
)


def check(config, learning_rate, n, sgd=None, **more):
    rates, momenta, error = torch_tables(config, sgd or optimizer(learning_rate), n)
    if error is not None and not len(rates):  # torch's constructor raised
        with pytest.raises(type(error)):
            to_ours(config, learning_rate, **more)
        return
    schedule = to_ours(config, learning_rate, **more)
    assert same_bits(schedule.table(len(rates)), rates), config
    if schedule.momentum is None:
        assert not momenta.any(), config
    else:
        assert same_bits(schedule.momentum.table(len(rates)), momenta), config
    if error is not None:
        with pytest.raises(type(error)) as raised:
            schedule.table(len(rates) + 1)
        assert str(raised.value) == str(error), config


def test_the_check_finds_an_ulp_a_sign_and_a_late_step():
    scheduler = "StepLR", {"step_size": 3, "gamma": 0.5}
    check(scheduler, 0.1, 9)
    ours = to_ours(scheduler, 0.1).table(9)
    assert not same_bits(ours, np.nextafter(ours, 1))
    assert not same_bits([0.0], [-0.0])
    assert not same_bits(ours[1:], ours[:-1])
    with pytest.raises(AssertionError):
        check(scheduler, 0.1, 9, sgd=optimizer(np.nextafter(0.1, 1)))


def check_leaves(name, configurations, epochs):
    for seed in range(configurations):
        draw = Draw(f"{name} {seed}", epochs)
        check(draw.leaf(name), draw.choice((0.1, 1, 1e-3, draw.random())), epochs)


@pytest.mark.parametrize("name", LEAVES)
def test_table_is_torch(name):
    check_leaves(name, configurations=20, epochs=300)


@pytest.mark.thorough
@pytest.mark.parametrize("name", LEAVES)
def test_table_is_torch_for_10000_epochs(name):
    check_leaves(name, configurations=30, epochs=10_000)


def check_nests(configurations, epochs):
    for seed in range(configurations):
        draw = Draw(f"nest {seed}", epochs)
        check(draw.nest(depth=3), draw.choice((0.1, 1, 1e-3, draw.random())), epochs)


def test_nests_are_torch():
    check_nests(configurations=300, epochs=150)


@pytest.mark.thorough
def test_nests_are_torch_for_10000_epochs():
    check_nests(configurations=60, epochs=10_000)


@pytest.mark.thorough
def test_many_nests_are_torch():
    check_nests(configurations=5_000, epochs=60)


@pytest.mark.parametrize("name", LEAVES)
@pytest.mark.parametrize("last_epoch", [0, 1, 9, 49])
def test_a_resumed_scheduler_is_torch(name, last_epoch):
    for seed in range(10):
        draw = Draw(f"resumed {name} {seed}", epochs=60)
        name, arguments = draw.leaf(name)
        sgd = optimizer(0.1)
        rates, _, error = torch_tables((name, arguments), sgd, last_epoch + 1)
        if error is not None:  # there is nothing to resume
            continue
        # The optimizer is as a checkpoint restores it, with the group's learning rates in it.
        more = {} if name == "OneCycleLR" else {"initial_lr": sgd.param_groups[0]["initial_lr"]}
        check((name, arguments | {"last_epoch": last_epoch}), rates[-1].item(), 30, sgd, **more)


@pytest.mark.parametrize("name", WITH_CLOSED_FORM)
def test_a_python_count_is_torchs_closed_form(name):
    for seed in range(20):
        config = Draw(f"closed {name} {seed}", epochs=300).leaf(name)
        if config[1].get("total_iters", 5) == 0:  # torch's closed form divides by it
            continue
        schedule, scheduler = to_ours(config, 0.1), to_torch(config, optimizer(0.1))
        for epoch in range(300):
            scheduler.last_epoch = epoch
            assert same_bits(schedule(epoch), scheduler._get_closed_form_lr()[0]), config


def test_a_table_that_was_traced_in_the_64_bit_mode_is_float32_outside_of_it():
    """JAX keeps the conversion of a NumPy array that is the constant of a program."""
    learning_rate = tabulate(StepLR(0.5, step_size=2, gamma=0.5), 5)
    assert learning_rate(jnp.int32(1)).dtype == jnp.float32
    with jax.enable_x64(True):
        rates = jax.jit(lambda: jax.lax.scan(lambda t, _: (t + 1, learning_rate(t)), jnp.int32(0), length=3)[1])()
        assert rates.dtype == jnp.float64
    assert learning_rate(jnp.int32(1)).dtype == jnp.float32
