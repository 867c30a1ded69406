"""torch's odd cases and torch's errors, one test each, by hand."""

import jax
import pytest
import torch

from funcsgd.schedules import (
    chained_scheduler,
    constant_lr,
    cosine_annealing_lr,
    cosine_annealing_warm_restarts,
    cyclic_lr,
    exponential_lr,
    lambda_lr,
    linear_lr,
    multi_step_lr,
    multiplicative_lr,
    one_cycle_lr,
    per_epoch,
    polynomial_lr,
    sequential_lr,
    step_lr,
    swalr,
    tabulate,
)
from funcsgd.schedules.plateau import reduce_lr_on_plateau
from tests.support.torch_schedulers import optimizer, same_bits

# torch's odd cases.


def test_constant_lr_of_no_epochs_never_returns():
    assert constant_lr(1.0, factor=0.25, total_iters=0).table(4).tolist() == [0.25] * 4


def test_constant_lr_of_zero_cannot_return():
    schedule = constant_lr(1.0, factor=0.0, total_iters=3)
    assert schedule.table(3).tolist() == [0.0] * 3
    with pytest.raises(ZeroDivisionError):
        schedule.table(4)


def test_linear_lr_of_no_epochs_stays_at_its_start():
    schedule = linear_lr(1.0, start_factor=0.25, total_iters=0)
    assert schedule.table(4).tolist() == [0.25] * 4
    with pytest.raises(ZeroDivisionError):
        schedule(0)


def test_polynomial_lr_of_no_epochs_stays_at_its_base():
    assert polynomial_lr(1.0, total_iters=0).table(4).tolist() == [1.0] * 4


def test_milestone_0_and_repeated_milestones_take_effect():
    assert multi_step_lr(1.0, [0, 2, 2], gamma=0.5).table(3).tolist() == [0.5, 0.5, 0.125]


def test_cosine_annealing_climbs_back_past_its_base():
    table = cosine_annealing_lr(1.0, T_max=10).table(21)
    assert table[10] == 0.0
    assert table[20] == 1.0000000000000042


def test_step_lr_resumed_before_a_drop_drops_at_construction():
    assert step_lr(1.0, 10, gamma=0.5, last_epoch=9, initial_lr=1.0).table(2).tolist() == [0.5, 0.5]
    with pytest.raises(KeyError, match="param 'initial_lr' is not specified in param_groups"):
        step_lr(1.0, 10, last_epoch=9)


def test_warm_restarts_by_epoch_take_torchs_logarithm():
    schedule = cosine_annealing_warm_restarts(1.0, T_0=1, T_mult=3, eta_min=0.25)
    assert schedule(121) == 0.25  # a restart, missed
    assert schedule.table(122)[121] == 1.0
    assert jax.jit(schedule)(121) == 1.0
    with pytest.raises(ValueError, match="Expected non-negative epoch, but got -1"):
        schedule(-1)


@pytest.mark.parametrize(("T_0", "T_mult"), [(1, 1), (10, 1), (1, 2), (1, 3), (5, 2), (7, 4)])
def test_warm_restarts_at_fractions_of_an_epoch_are_torchs(T_0, T_mult):
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(group := optimizer(0.1), T_0, T_mult, 0.001)
    schedule = cosine_annealing_warm_restarts(0.1, T_0, T_mult, 0.001)
    for step in range(2000):
        scheduler.step(step / 13)
        assert same_bits(schedule(step / 13), group.param_groups[0]["lr"])


def test_cyclic_lr_takes_its_first_rate_from_the_optimizers_initial_lr():
    assert cyclic_lr(0.5, 1.0, step_size_up=2, initial_lr=7.0).table(3).tolist() == [7.0, 0.75, 1.0]


def test_cyclic_momentum_is_on_by_default():
    assert cyclic_lr(0.5, 1.0, step_size_up=2).momentum.table(3).tolist() == [0.9, 0.9 - (0.9 - 0.8) * 0.5, 0.8]
    assert cyclic_lr(0.5, 1.0, cycle_momentum=False).momentum is None


def test_one_cycle_lr_begins_an_ulp_beside_its_quotient():
    assert one_cycle_lr(1.0, total_steps=10).table(1)[0] == 0.040000000000000036


def test_one_cycle_lr_may_step_once_too_often():
    schedule = one_cycle_lr(1.0, total_steps=10, anneal_strategy="linear", final_div_factor=1e9)
    assert schedule.table(11)[10] < 0
    with pytest.raises(ValueError, match=r"Tried to step 11 times. The specified number of total steps is 10"):
        schedule.table(12)
    with pytest.raises(ValueError, match="Tried to step 11 times"):
        schedule(11)
    assert jax.jit(schedule)(11) == jax.jit(schedule)(10)


def test_one_cycle_lr_cannot_rise_in_one_step():
    with pytest.raises(ZeroDivisionError):
        one_cycle_lr(1.0, total_steps=10, pct_start=0.1)


def test_multiplicative_lr_multiplies_the_present_rate_at_its_milestone():
    after = multiplicative_lr(1.0, lambda epoch: 0.5)
    table = sequential_lr(1.0, [constant_lr(1.0, 0.25, total_iters=9), after], milestones=[2]).table(4)
    assert table.tolist() == [0.25, 0.25, 0.125, 0.0625]


def test_swalr_idles_a_step_at_its_milestone():
    after = swalr(1.0, swa_lr=0.0, anneal_epochs=2, anneal_strategy="linear")
    table = sequential_lr(1.0, [constant_lr(1.0, factor=1.0), after], milestones=[2]).table(6)
    assert table.tolist() == [1.0, 1.0, 1.0, 0.5, 0.0, 0.0]


def test_a_sequence_in_first_place_starts_an_epoch_ahead():
    inner = sequential_lr(1.0, [step_lr(1.0, 1, gamma=0.5), step_lr(1.0, 1)], milestones=[90])
    table = sequential_lr(1.0, [inner, constant_lr(1.0)], milestones=[90]).table(3)
    assert table.tolist() == [1.0, 0.5, 0.25]
    inner = sequential_lr(1.0, [constant_lr(1.0, factor=0.5), step_lr(1.0, 9)], milestones=[2])
    table = sequential_lr(1.0, [inner, constant_lr(1.0)], milestones=[90]).table(3)
    assert table.tolist() == [0.5, 1.0, 1.0]


@pytest.mark.parametrize("nest", [chained_scheduler, lambda inner: sequential_lr(1.0, inner, milestones=[9])])
def test_a_nest_in_a_later_place_fails_at_its_milestone(nest):
    inner = nest([step_lr(1.0, 5), step_lr(1.0, 5)])
    schedule = sequential_lr(1.0, [constant_lr(1.0), inner], milestones=[3])
    assert len(schedule.table(3)) == 3
    with pytest.raises(NotImplementedError):
        schedule.table(4)


def test_a_chain_in_first_place_steps_once_too_often():
    chain = chained_scheduler([constant_lr(1.0, factor=0.5), exponential_lr(1.0, gamma=0.9)])
    assert sequential_lr(1.0, [chain, constant_lr(1.0)], milestones=[9]).table(1)[0] == 0.45


def test_schedules_that_do_not_multiply_overwrite_those_before_them():
    chain = chained_scheduler([exponential_lr(1.0, gamma=0.5), lambda_lr(1.0, lambda epoch: 0.25)])
    assert chain.table(4).tolist() == [0.25] * 4


def test_unsorted_milestones_are_accepted():
    constants = [constant_lr(1.0, factor=f, total_iters=99) for f in (0.5, 0.25, 0.125)]
    assert sequential_lr(1.0, constants, milestones=[5, 2]).table(6).tolist() == [0.5] * 2 + [0.125] * 4


# torch's errors.


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: constant_lr(1.0, 1.5), ValueError, "Constant multiplicative factor expected to be between 0 and 1."),
        (lambda: linear_lr(1.0, 0.0), ValueError, "Starting multiplicative factor expected to be greater than 0 and"),
        (lambda: linear_lr(1.0, 0.5, 2), ValueError, "Ending multiplicative factor expected to be between 0 and 1."),
        (lambda: lambda_lr(1.0, [abs, abs]), ValueError, "Expected 1 lr_lambdas, but got 2"),
        (lambda: multiplicative_lr(1.0, 0.5), TypeError, "lr_lambda should be a function, but got float"),
        (lambda: cosine_annealing_warm_restarts(1.0, 0), ValueError, "Expected positive integer T_0, but got 0"),
        (lambda: cosine_annealing_warm_restarts(1.0, 1, 0), ValueError, "Expected integer T_mult >= 1, but got 0"),
        (lambda: cyclic_lr(0.1, 1.0, mode="square"), ValueError, "mode is invalid and scale_fn is None"),
        (lambda: one_cycle_lr(1.0), ValueError, r"You must define either total_steps OR \(epochs AND steps_per_epoch"),
        (lambda: one_cycle_lr(1.0, 0), ValueError, "Expected positive integer total_steps, but got 0"),
        (lambda: one_cycle_lr(1.0, None, 0, 5), ValueError, "Expected positive integer epochs, but got 0"),
        (lambda: one_cycle_lr(1.0, 9, pct_start=1), ValueError, "Expected float between 0 and 1 pct_start, but got 1"),
        (lambda: one_cycle_lr(1.0, 9, anneal_strategy="x"), ValueError, "anneal_strategy must be one of 'cos' or 'li"),
        (lambda: swalr(1.0, 0.1, -1), ValueError, "anneal_epochs must be equal or greater than 0, got -1"),
        (lambda: swalr(1.0, 0.1, anneal_strategy="x"), ValueError, "anneal_strategy must be one of 'cos' or 'linear'"),
        (lambda: step_lr(-1.0, 30), ValueError, "Invalid learning rate: -1.0"),
        (lambda: sequential_lr(1.0, [], []), ValueError, "SequentialLR expects at least one scheduler, but got no sch"),
        (
            lambda: sequential_lr(1.0, [step_lr(1.0, 9)], [3]),
            ValueError,
            "one more than the number of milestone points",
        ),
        (lambda: sequential_lr(1.0, [abs], []), TypeError, "SequentialLR at index 0"),
        (
            lambda: sequential_lr(1.0, [reduce_lr_on_plateau(1.0)], []),
            ValueError,
            "does not support `ReduceLROnPlateau",
        ),
        (lambda: sequential_lr(1.0, [step_lr(0.5, 9)], []), ValueError, "share one learning_rate"),
        (
            lambda: chained_scheduler([]),
            ValueError,
            "expects at least one scheduler to be chained, but got no scheduler",
        ),
        (lambda: chained_scheduler([step_lr(1.0, 9), step_lr(2.0, 9)]), ValueError, "share one learning_rate"),
        (lambda: tabulate(step_lr(1.0, 9), 0), ValueError, "at least one entry"),
        (lambda: per_epoch(step_lr(1.0, 9), 0), ValueError, "at least one step"),
        (lambda: step_lr(1.0, 0).table(2), ZeroDivisionError, "zero"),
        (lambda: cosine_annealing_lr(1.0, 0).table(2), ZeroDivisionError, "zero"),
    ],
)
def test_what_torch_refuses_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
