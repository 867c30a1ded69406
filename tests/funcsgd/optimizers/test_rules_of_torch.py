"""Rules of torch.optim are torch's in every bit: flags, drives, schedules, complex, float64, gradients of None."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcsgd
from funcsgd.arithmetic import square_root
from funcsgd.hyperparameters import Hyperparameter
from tests.support import drives
from tests.support.adam_runs import root_in_torch
from tests.support.rules_of_torch import RULES
from tests.support.sampling import one_in
from tests.support.torch_runs import by_step, differing_bits, random_run, torch_run

SHORT = ((7,), (64, 33))
STEPS = 25
OTHER_DRIVES = [drive for drive in drives.DRIVES if drive != "scan"]
every_rule = pytest.mark.parametrize("name", RULES)


def name_of(flags):
    return ",".join(f"{key}={value}" for key, value in flags.items() if value) or "plain"


def cases():
    """(rule, flags): every option in the default run; thorough no option and some of what lies between."""
    return [
        pytest.param(name, flags, id=f"{name}-{name_of(flags)}", marks=() if i == 1 else pytest.mark.thorough)
        for name, rule in RULES.items()
        for i, flags in enumerate(rule.flags())
        if i < 2 or i % 8 == 0
    ]


def assert_parity(name, flags, drive="scan", shapes=SHORT, dtype="float32", steps=STEPS):
    rule = RULES[name]
    params, gradients = random_run(np.dtype(dtype), shapes, steps=steps)
    after = drives.DRIVES[drive](rule.make(**flags), params, gradients)
    for how in rule.implementations(dtype):
        expected = torch_run(params, by_step(gradients), rule=rule.theirs, lr=rule.lr, **how, **flags)
        assert differing_bits(after, expected) == 0


@pytest.mark.parametrize(("name", "flags"), cases())
def test_parity(name, flags):
    assert_parity(name, flags)


@pytest.mark.parametrize("drive", OTHER_DRIVES)
@pytest.mark.parametrize("name", [pytest.param(x, marks=pytest.mark.thorough) for x in RULES])
def test_parity_in_other_drives(name, drive):
    assert_parity(name, RULES[name].flags()[1], drive)


@pytest.mark.parametrize("name", one_in(3, RULES))
def test_parity_of_complex_parameters(name):
    assert_parity(name, RULES[name].flags()[1], shapes=((7,), (9, 5)), dtype="complex64", steps=10)


@pytest.mark.thorough
@every_rule
def test_parity_of_plain_complex_parameters(name):
    assert_parity(name, RULES[name].flags()[0], shapes=((7,), (9, 5)), dtype="complex64")


@pytest.mark.thorough
@every_rule
def test_parity_of_exact_arithmetic(name):
    with funcsgd.exact_arithmetic():
        assert_parity(name, RULES[name].flags()[1], steps=10)


@pytest.mark.thorough
@every_rule
def test_parity_in_float64_with_the_root_that_rounds_correctly(name):
    rule, root = RULES[name], square_root("correct")
    flags = rule.flags()[1]
    params, gradients = random_run(np.float64, SHORT, steps=STEPS)
    with jax.enable_x64(True):
        after = drives.by_scan(rule.make(root=root, **flags), params, gradients)
    with root_in_torch(root):
        for how in rule.implementations():
            expected = torch_run(params, by_step(gradients), rule=rule.theirs, lr=rule.lr, **how, **flags)
            assert differing_bits(after, expected) == 0


def scheduled(at, steps):
    """torch's values at each step as schedules: a table of doubles for each number."""

    def table(values) -> Hyperparameter:
        return lambda count: jnp.asarray(values)[count]

    columns = [at(t) for t in range(steps + 1)]
    if isinstance(columns[0], tuple):
        return tuple(table(np.array(column)) for column in zip(*columns, strict=True))
    return table(np.array(columns))


@every_rule
def test_scheduled_numbers_and_missing_gradients(name):
    """Every number that may change does, and each parameter lacks gradients, one of them the first few."""
    rule, steps = RULES[name], 12
    params, gradients = random_run(np.float32, ((7,), (9, 5)), steps=steps)
    drifting = {"lr": lambda t: rule.lr * 0.9**t, **rule.drifting}

    def given(t):
        return [g if not lacks else None for g, lacks in zip(by_step(gradients)[t], (t < 3, 3 < t < 6), strict=True)]

    def at(t):
        return {key: value(t) for key, value in drifting.items()}

    expected = torch_run(params, [given(t) for t in range(steps)], at, rule=rule.theirs, foreach=False, **at(0))
    tx = rule.make(**{key: scheduled(value, steps) for key, value in drifting.items()})
    state, current, after = tx.init(params), params, []
    step = jax.jit(lambda g, s, p: (lambda u, s: (optax.apply_updates(p, u), s))(*tx.update(g, s, p)))
    structure = jax.tree.structure(state)
    for t in range(steps):
        current, state = step(given(t), state, current)
        after.append([np.asarray(p) for p in current])
        assert jax.tree.structure(state) == structure
    assert differing_bits([np.stack(x) for x in zip(*after, strict=True)], expected) == 0
    assert state[-1].step.tolist() == [steps - 3, steps - 2]


@pytest.mark.parametrize("name", one_in(6, RULES))
def test_derivatives_with_respect_to_numbers_are_finite_differences(name):
    rule = RULES[name]
    options = {"lr": rule.lr} | {key: values[1] for key, values in rule.options.items() if values[1] is not True}
    numbers = {key: value for key, value in options.items() if not isinstance(value, bool)}
    params, gradients = random_run(np.float64, ((7,),), steps=9)

    def after(numbers):
        return drives.scanned(rule.make(root="correct", **numbers), params, gradients)[0][-1]

    with jax.enable_x64(True):
        numbers = jax.tree.map(lambda x: jnp.asarray(x, float), numbers)
        flat, build = jax.flatten_util.ravel_pytree(numbers)
        along = jnp.linspace(0.5, 1.5, flat.size) * flat

        def moved(epsilon):
            return after(build(flat + epsilon * along))

        _, slope = jax.jit(lambda: jax.jvp(moved, (0.0,), (1.0,)))()
        run = jax.jit(moved)
        h = 1e-3 if rule.holds_float32 else 1e-6  # whose roundings, of 1e-7, a shorter step would measure
        expected = (run(h) - run(-h)) / (2 * h)
    np.testing.assert_allclose(
        slope, expected, rtol=0, atol=(1e-3 if rule.holds_float32 else 1e-5) * np.abs(expected).max()
    )
