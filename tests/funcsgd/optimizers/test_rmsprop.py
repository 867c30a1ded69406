"""rmsprop is torch's in every bit: flags, drives, roots, exact arithmetic, complex, gradients of None."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import funcsgd
from funcsgd import schedules
from funcsgd.arithmetic import square_root
from tests.support import drives
from tests.support.adam_runs import root_in_torch
from tests.support.sampling import one_in
from tests.support.torch_runs import IMPLEMENTATIONS, by_step, differing_bits, our_run, random_run, torch_run
from torch_bridge.square_root import torch_root

LR = 0.0137
FLAGS = [
    {"alpha": alpha, "weight_decay": decay, "momentum": momentum, "centered": centered, "maximize": maximize}
    for alpha, decay, momentum, centered, maximize in itertools.product(
        (0.99, 0.37), (0.0, 0.1), (0.0, 0.9), (False, True), (False, True)
    )
]
"""Every combination of two values for each hyperparameter."""
SHORT = ((7,), (64, 33))
OTHER_DRIVES = [drive for drive in drives.DRIVES if drive != "scan"]


def name_of(flags):
    return ",".join(f"{key}={value}" for key, value in flags.items() if value)


def assert_parity(drive, flags, shapes=SHORT, steps=30, dtype=np.float32):
    params, gradients = random_run(dtype, shapes, steps=steps)
    after = drives.DRIVES[drive](funcsgd.rmsprop(LR, sqrt=torch_root(), **flags), params, gradients)
    for how in IMPLEMENTATIONS.values():
        expected = torch_run(params, by_step(gradients), rule=torch.optim.RMSprop, lr=LR, **how, **flags)
        assert differing_bits(after, expected) == 0


def test_two_steps_by_hand():
    # alpha 0, so that v = g * g and d = |g|: a step is lr, with momentum 0.5 the second one and a half of it
    gradients = [[np.float32([2])], [np.float32([-8])]]
    (p,) = our_run(funcsgd.rmsprop(0.5, alpha=0.0, eps=0.0), [np.float32([4])], gradients)
    assert p.tolist() == [[3.5], [4.0]]
    (p,) = our_run(funcsgd.rmsprop(0.5, alpha=0.0, eps=0.0, momentum=0.5), [np.float32([4])], gradients[:1] * 2)
    assert p.tolist() == [[3.5], [2.75]]


@pytest.mark.parametrize("flags", one_in(11, FLAGS), ids=name_of)
def test_parity(flags):
    assert_parity("scan", flags)


@pytest.mark.parametrize("drive", one_in(4, OTHER_DRIVES))
@pytest.mark.parametrize("flags", [FLAGS[0], FLAGS[14]], ids=name_of)
def test_parity_in_other_drives(drive, flags):
    assert_parity(drive, flags)


@pytest.mark.parametrize("flags", one_in(2, [FLAGS[14], FLAGS[8]]), ids=name_of)
def test_parity_of_complex_parameters(flags):
    """With weight decay the for-loop alone, from which torch's foreach differs there."""
    params, gradients = random_run(np.complex64, ((7,), (33, 5)), steps=20)
    after = drives.by_scan(funcsgd.rmsprop(LR, sqrt=torch_root(), **flags), params, gradients)
    expected = torch_run(params, by_step(gradients), rule=torch.optim.RMSprop, lr=LR, foreach=False, **flags)
    assert differing_bits(after, expected) == 0


@pytest.mark.parametrize("flags", one_in(2, [FLAGS[14], FLAGS[0]]), ids=name_of)
def test_parity_of_exact_arithmetic(flags):
    with funcsgd.exact_arithmetic():
        assert_parity("scan", flags, steps=10)


@pytest.mark.parametrize("momentum", one_in(2, [0.9, 0.0]))
def test_parity_in_float64_with_the_root_that_rounds_correctly(momentum):
    params, gradients = random_run(np.float64, SHORT, steps=20)
    with jax.enable_x64(True):
        after = drives.by_scan(funcsgd.rmsprop(LR, momentum=momentum, centered=True), params, gradients)
    with root_in_torch(square_root("correct")):
        for how in IMPLEMENTATIONS.values():
            options = {"lr": LR, "momentum": momentum, "centered": True}
            expected = torch_run(params, by_step(gradients), rule=torch.optim.RMSprop, **how, **options)
            assert differing_bits(after, expected) == 0


def test_a_schedule_of_momentum_and_of_the_learning_rate_is_torchs():
    params, gradients = random_run(np.float32, SHORT, steps=20)
    tensors = [torch.tensor(p, requires_grad=True) for p in params]
    optimizer = torch.optim.RMSprop(tensors, lr=LR, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, 20)
    for of_step in by_step(gradients):
        for tensor, g in zip(tensors, of_step, strict=True):
            tensor.grad = torch.tensor(g)
        optimizer.step()
        scheduler.step()
    cycle = schedules.OneCycleLR(0.02, 20)
    tx = funcsgd.rmsprop(
        schedules.tabulate(cycle, 21), momentum=schedules.tabulate(cycle.momentum, 21), sqrt=torch_root()
    )
    after = drives.by_scan(tx, params, gradients)
    assert differing_bits([x[-1] for x in after], [x.detach().numpy() for x in tensors]) == 0


def test_a_missing_gradient_leaves_everything_as_it_is():
    params = {"a": jnp.ones(3), "b": jnp.ones(2)}
    tx = funcsgd.rmsprop(0.1, momentum=0.9, centered=True)
    state = tx.init(params)
    updates, new = tx.update({"a": jnp.full(3, 2.0), "b": None}, state, params)
    assert jax.tree.map(jnp.add, params, updates)["b"].tolist() == [1.0, 1.0]
    assert new[-1].step.tolist() == [1.0, 0.0]
    for kept in ("square_avg", "grad_avg", "momentum_buffer"):
        assert getattr(new[-1], kept)["b"].tolist() == [0.0, 0.0]


def test_the_root_of_a_negative_variance_is_nan_as_in_torch():
    gradients = [[np.float32([3.0, 0.1])]] * 3
    options = {"lr": 0.1, "alpha": 1.5, "centered": True}
    (theirs,) = torch_run([np.float32([1.0, 1.0])], gradients, rule=torch.optim.RMSprop, **options)
    tx = funcsgd.rmsprop(options.pop("lr"), sqrt=torch_root(), **options)
    (ours,) = our_run(tx, [np.float32([1.0, 1.0])], gradients)
    assert np.isnan(theirs).any()
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
