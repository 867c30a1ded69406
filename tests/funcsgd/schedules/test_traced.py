"""Schedules under jit and vmap: the closed form, to a bound that follows from its own roundings."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcsgd import schedules
from funcsgd.schedules import (
    SWALR,
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    InverseTimeLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    OneCycleLR,
    PolynomialLR,
    SequentialLR,
    StepLR,
    per_epoch,
    tabulate,
)
from tests.support.sampling import one_in
from tests.support.torch_schedulers import (
    LEAVES,
    WITH_CLOSED_FORM,
    WITHOUT_LEARNING_RATE,
    Draw,
    same_bits,
    to_ours,
)

N = 300
TRACEABLE = [name for name in LEAVES if name not in ("LambdaLR", "MultiplicativeLR")]


def roundings(name, a):
    """How often a rounding of a hyperparameter or of the epoch's share counts: in the traced form, in Python's."""
    epochs = np.arange(N)
    if name == "StepLR":
        return epochs // a["step_size"], 0
    if name == "MultiStepLR":
        return len(a["milestones"]), 0
    if name == "ExponentialLR":
        return epochs, 0
    if name == "PolynomialLR":
        return a["power"] * math.log(a["total_iters"] + 1), 0
    if name == "CosineAnnealingLR":  # only Python takes the cosine of a large angle
        return 0, math.pi * epochs / a["T_max"]
    if name == "CyclicLR":  # the steeper side of the triangle; Python cancels the number of cycles
        up, down = a["step_size_up"], a["step_size_down"] or a["step_size_up"]
        slope = (up + down) / min(up, down)
        power = epochs if a["mode"] == "exp_range" and a["scale_fn"] is None else 0
        return slope + power, slope * (1 + epochs / (up + down))
    if name == "OneCycleLR":  # the shortest phase has pct_start * total_steps, rounded, at its end
        total, pct = a.get("total_steps", N), a["pct_start"]
        ends = [pct * total - 1, 2 * pct * total - 2][: 1 + a["three_phase"]]
        lengths = np.abs(np.diff([0.0, *ends, total - 1]))
        return total / lengths[lengths > 0].min(), 0
    return 0, 0


def bound(name, arguments, reference, dtype):
    """Eight roundings, and four for each that the formula repeats, of the largest value; and so for the reference."""
    traced, python = roundings(name, arguments)
    return np.abs(reference).max() * (
        (8 + 4 * traced) * float(np.finfo(dtype).eps) + (8 + 4 * python) * float(np.finfo(np.float64).eps)
    )


def references(name, schedule):
    """The formula in Python doubles, learning rate and momentum; restarts as the table has them, not the logarithm."""
    count = range(N)
    rates = schedule.table(N) if name == "CosineAnnealingWarmRestarts" else [schedule(epoch) for epoch in count]
    momenta = [schedule.momentum(epoch) for epoch in count] if schedule.momentum else np.ones(N)
    return np.array(rates), np.array(momenta)


def draw(name, seed):
    """A configuration with a closed form for N epochs, no argument left out; its schedule and values."""
    for attempt in range(100):
        config = name, getattr(Draw(f"traced {name} {seed} {attempt}", N + 3), name)()
        try:
            schedule = to_ours(config, 0.1)
            return config[1], schedule, references(name, schedule)
        except (ArithmeticError, ValueError):  # it divides by zero, or its cycle has fewer than N steps
            continue
    raise AssertionError(f"no {name} to test")


@pytest.mark.parametrize("x64", one_in(2, [False, True]))
@pytest.mark.parametrize("name", TRACEABLE)
def test_a_traced_count_gives_the_closed_form(name, x64):
    dtype = np.float64 if x64 else np.float32
    with jax.enable_x64(x64):
        for seed in range(4):
            arguments, schedule, (rates, momenta) = draw(name, seed)
            ours = jax.jit(schedule)(jnp.arange(N, dtype=jnp.int32))  # what optimizers count in
            assert ours.dtype == dtype
            assert (np.abs(ours - rates) <= bound(name, arguments, rates, dtype)).all(), arguments
            if schedule.momentum:
                ours = jax.jit(schedule.momentum)(jnp.arange(N))
                assert (np.abs(ours - momenta) <= bound(name, arguments, momenta, dtype)).all(), arguments


@pytest.mark.parametrize("x64", one_in(2, [False, True]))
@pytest.mark.parametrize("name", TRACEABLE)
def test_hyperparameters_may_be_vmapped(name, x64):
    """All numbers of a few configurations at once, the learning rate too; the others stay as in the first."""

    def is_number(value):
        return isinstance(value, int | float) and not isinstance(value, bool)

    dtype = np.float64 if x64 else np.float32
    first = draw(name, 0)[0]
    numbers = {key for key, value in first.items() if is_number(value)}
    drawn = []
    for seed in range(40):
        arguments, *_ = draw(name, seed)
        if {key for key, value in arguments.items() if is_number(value)} == numbers:
            arguments = arguments | {key: value for key, value in first.items() if key not in numbers}
            try:
                drawn.append((arguments, *references(name, to_ours((name, arguments), 0.1))))
            except (ArithmeticError, ValueError):
                continue
    assert len(drawn) >= 5

    def values(learning_rate, traced):
        rest = {key: value for key, value in first.items() if key not in numbers}
        more = {} if name in WITHOUT_LEARNING_RATE else {"learning_rate": learning_rate}
        schedule = getattr(schedules, name)(**rest, **traced, **more)
        momentum = schedule.momentum or jnp.ones_like
        return schedule(jnp.arange(N)), momentum(jnp.arange(N))

    with jax.enable_x64(x64):
        traced = {key: jnp.asarray([arguments[key] for arguments, *_ in drawn]) for key in numbers}
        ours = jax.jit(jax.vmap(values))(jnp.full(len(drawn), 0.1), traced)
        for i, (arguments, *expected) in enumerate(drawn):
            for our, reference in zip(ours, expected, strict=True):
                assert (np.abs(our[i] - reference) <= bound(name, arguments, reference, dtype)).all(), arguments


@pytest.mark.parametrize("name", ["LambdaLR", "CyclicLR", "OneCycleLR"])
def test_where_the_recurrence_is_the_formula_a_python_count_is_the_table(name):
    for seed in range(20):
        if name == "LambdaLR":
            schedule = to_ours(Draw(f"formula {seed}", N).leaf(name), 0.1)
        else:
            _, schedule, _ = draw(name, seed)
        assert same_bits([schedule(epoch) for epoch in range(N)], schedule.table(N))
        if schedule.momentum:
            assert same_bits([schedule.momentum(epoch) for epoch in range(N)], schedule.momentum.table(N))


def test_a_cosine_far_out_keeps_float32s_precision():
    schedule = CosineAnnealingLR(1.0, T_max=7)
    epochs = np.arange(100_000 - 14, 100_000)
    expected = (1 + np.cos(np.pi * (epochs % 14) / 7)) / 2
    assert np.abs(schedule(jnp.asarray(epochs)) - expected).max() < 1e-6


def test_every_restart_is_found():
    schedule = jax.jit(CosineAnnealingWarmRestarts(1.0, T_0=1, T_mult=3, eta_min=0.5))
    for restart in [0, 1, 4, 13, 40, 121, 364, 1093, 3280, 9841, 29524, 88573, 265720]:
        assert schedule(restart) == 1.0


def test_a_polynomial_ends_at_zero():
    assert jax.jit(PolynomialLR(1.0, 61, power=0.5))(61) == 0.0


def test_a_traced_function_of_the_epoch():
    schedule = LambdaLR(0.5, lambda epoch: jnp.where(epoch < 3, 1.0, 0.5))
    assert jax.jit(jax.vmap(schedule))(jnp.arange(5)).tolist() == [0.5, 0.5, 0.5, 0.25, 0.25]
    assert schedule.table(5).tolist() == [0.5, 0.5, 0.5, 0.25, 0.25]


def test_a_formula_without_the_count_has_the_counts_shape():
    assert LambdaLR(0.5, lambda epoch: 1).table(2).tolist() == [0.5, 0.5]
    assert LambdaLR(0.5, lambda epoch: 1)(jnp.arange(3)).tolist() == [0.5, 0.5, 0.5]


def test_hyperparameters_have_gradients():
    def last(beta, gamma, T_max):
        warmup, anneal = ExponentialLR(0.1, gamma), CosineAnnealingLR(0.1, T_max)
        return SequentialLR(0.1, [warmup, anneal], milestones=[5])(9) * InverseTimeLR(0.1, beta)(9)

    gradients = jax.grad(last, argnums=(0, 1, 2))(0.1, 0.9, 20.0)
    assert np.isfinite(gradients).all()
    assert gradients[0] < 0 < gradients[2]


def test_steps_per_epoch_may_be_traced():
    rate = jax.jit(lambda step, k: per_epoch(tabulate(StepLR(1.0, 1, gamma=0.5), 4), k)(step))
    assert [rate(5, k) for k in (1, 2, 5, 6)] == [0.125, 0.25, 0.5, 1.0]


# Nests.


def test_warmup_length_may_be_vmapped():
    """The most common recipe, warmup and cosine, over lengths of the warmup and learning rates."""

    def rates(lr, warmup):
        first, then = LinearLR(lr, 0.1, total_iters=warmup), CosineAnnealingLR(lr, 100 - warmup)
        return SequentialLR(lr, [first, then], milestones=[warmup])(jnp.arange(100))

    lrs, warmups = np.array([0.1, 0.5, 1.0]), np.array([1, 5, 20])
    ours = jax.jit(jax.vmap(rates))(lrs, warmups)
    for i, (lr, warmup) in enumerate(zip(lrs.tolist(), warmups.tolist(), strict=True)):
        parts = [LinearLR(lr, 0.1, total_iters=warmup), CosineAnnealingLR(lr, 100 - warmup)]
        table = SequentialLR(lr, parts, milestones=[warmup]).table(100)
        assert np.abs(ours[i] - table).max() <= 16 * np.finfo(np.float32).eps * lr


def test_nests_with_a_closed_form_are_their_tables_but_for_drift():
    """A quirk of torch's would be larger than any drift; float32 adds 100 epochs' roundings for each of four leaves."""
    float32 = 4 * (8 + 4 * 100) * float(np.finfo(np.float32).eps)
    for seed in range(60):
        rng = Draw(f"drift {seed}", 100)
        leaves = [rng.leaf(rng.choice(WITH_CLOSED_FORM)) for _ in range(rng.randint(1, 4))]
        if any(0 in (a.get("total_iters"), a.get("factor")) for _, a in leaves):
            continue  # closed forms that divide by zero, and a constant that cannot come back from 0
        if seed % 2:
            leaves = [leaf for leaf in leaves if leaf[0] != "CosineAnnealingLR"] or [("ExponentialLR", {"gamma": 0.9})]
            schedule = to_ours(("ChainedScheduler", {"schedulers": leaves}), 1.0)
        else:
            milestones = sorted(rng.randint(0, 99) for _ in leaves[1:])
            schedule = to_ours(("SequentialLR", {"schedulers": leaves, "milestones": milestones}), 1.0)
        table = schedule.table(100)
        assert np.abs([schedule(epoch) for epoch in range(100)] - table).max() <= 1e-9 * np.abs(table).max(), leaves
        assert np.abs(jax.jit(schedule)(jnp.arange(100)) - table).max() <= float32 * np.abs(table).max(), leaves


def test_a_cycle_in_a_nest_has_a_table_of_momenta():
    nest = SequentialLR(0.1, [ConstantLR(0.1, 1.0), OneCycleLR(1.0, 10)], milestones=[3])
    assert nest.momentum.table(5)[:4].tolist() == [0.95] * 4
    assert jax.jit(tabulate(nest.momentum, 5))(4) < 0.95
    with pytest.raises(NotImplementedError, match="the momentum of SequentialLR has no closed form"):
        nest.momentum(3)


@pytest.mark.parametrize(
    "schedule",
    [
        MultiplicativeLR(1.0, lambda epoch: 0.5),
        SequentialLR(1.0, [StepLR(1.0, 9), SWALR(1.0, 0.1)], milestones=[5]),
        SequentialLR(1.0, [StepLR(1.0, 9), MultiplicativeLR(1.0, lambda epoch: 0.5)], milestones=[5]),
        SequentialLR(1.0, [ChainedScheduler([StepLR(1.0, 9)]), StepLR(1.0, 9)], milestones=[5]),
        SequentialLR(1.0, [StepLR(1.0, 9), StepLR(1.0, 8), StepLR(1.0, 7)], milestones=[5, 2]),
        SequentialLR(1.0, [StepLR(1.0, 9)], milestones=[], last_epoch=3),
        ChainedScheduler([StepLR(1.0, 9), LambdaLR(1.0, lambda epoch: 0.5)]),
        ChainedScheduler([StepLR(1.0, 9), CosineAnnealingLR(1.0, 9)]),
        ChainedScheduler([CyclicLR(0.1, 1.0)]),
    ],
)
def test_where_torch_has_no_formula_a_call_raises_and_names_tabulate(schedule):
    with pytest.raises(NotImplementedError, match="tabulate"):
        schedule(3)
    assert tabulate(schedule, 4)(3) == np.float32(schedule.table(4)[3])
