"""sgd is torch.optim.SGD in every bit: every legal combination of flags; `test_optim_db` has torch's own."""

import jax
import numpy as np
import pytest
import torch

import funcsgd
from tests.support import drives
from tests.support.sampling import one_in
from tests.support.torch_runs import (
    IMPLEMENTATIONS,
    by_step,
    differing_bits,
    legal_flags,
    name_of,
    our_run,
    random_run,
    torch_run,
)

LR = 0.0137
DTYPES = {"float32": np.float32, "float64": np.float64}
ALL_FLAGS = list(legal_flags())
SLICE = [
    {},
    {"momentum": 0.9, "dampening": 0.1, "weight_decay": 1e-2, "maximize": True},
    {"momentum": 0.37, "nesterov": True, "weight_decay": 1e-2},
]

every_flag = pytest.mark.parametrize("flags", ALL_FLAGS, ids=name_of)
some_flags = pytest.mark.parametrize("flags", SLICE, ids=name_of)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def test_two_steps_by_hand():
    tx = funcsgd.sgd(0.5, momentum=0.5, dampening=0.5, weight_decay=0.25)
    # g = 1 + 0.25 * 4 = 2, b = 2, p = 4 - 0.5 * 2 = 3; then g = 1.25 + 0.25 * 3 = 2, b = 0.5 * 2 + 0.5 * 2, p = 3 - 1
    (p,) = our_run(tx, [np.float32([4])], [[np.float32([1])], [np.float32([1.25])]])
    assert p.tolist() == [[3.0], [2.0]]


def test_two_steps_uphill_with_nesterov_by_hand():
    tx = funcsgd.sgd(0.5, momentum=0.5, nesterov=True, maximize=True)
    # g = -2, b = -2, d = -2 - 1, p = 0 + 1.5; then g = -2, b = -1 - 2, d = -2 - 1.5, p = 1.5 + 1.75
    (p,) = our_run(tx, [np.float32([0])], [[np.float32([2])], [np.float32([2])]])
    assert p.tolist() == [[1.5], [3.25]]


@some_flags
def test_negated_gradients_climb(flags):
    params, gradients = random_run(np.float32, steps=5)
    flags = {**flags, "weight_decay": 0.0, "maximize": False}
    uphill = drives.by_scan(funcsgd.sgd(LR, **{**flags, "maximize": True}), params, gradients)
    assert differing_bits(uphill, drives.by_scan(funcsgd.sgd(LR, **flags), params, [-g for g in gradients])) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": -0.1},
        {"momentum": -0.5},
        {"weight_decay": -1e-3},
        {"nesterov": True},
        {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
        {"lr": -1.0, "momentum": -1.0, "weight_decay": -1.0},
    ],
    ids=str,
)
def test_torchs_messages_in_torchs_order(wrong):
    with pytest.raises(ValueError) as theirs:  # noqa: PT011  # the message is what is compared
        torch.optim.SGD([torch.zeros(1)], **wrong)
    ours = {"learning_rate": wrong.get("lr", 0.1), **{key: value for key, value in wrong.items() if key != "lr"}}
    with pytest.raises(ValueError, match=str(theirs.value)):
        funcsgd.sgd(**ours)


def test_nan_and_odd_dampening_pass_as_in_torch():
    funcsgd.sgd(float("nan"), momentum=float("nan"), dampening=-3.0, weight_decay=float("nan"))


def assert_parity(dtype, drive, flags):
    width = {"float32": 8, "float64": 4}[dtype]
    params, gradients = random_run(DTYPES[dtype])
    with jax.enable_x64(dtype == "float64"):
        ours = drives.DRIVES[drive](funcsgd.sgd(LR, **flags), params, gradients)
    steps = by_step(gradients)
    for how in IMPLEMENTATIONS.values():
        assert differing_bits(ours, torch_run(params, steps, lr=LR, **how, **flags)) == 0
    fused = torch_run(params, steps, lr=LR, fused=True, **flags)
    if flags.get("momentum"):  # torch's fused kernel rounds the last elements in another place
        ours, fused = without_tail(ours, width), without_tail(fused, width)
    assert differing_bits(ours, fused) == 0


def without_tail(leaves, width):
    flat = [leaf.reshape(len(leaf), -1) for leaf in leaves]
    return [leaf[:, : leaf.shape[1] // width * width] for leaf in flat]


@pytest.mark.parametrize("flags", one_in(3, ALL_FLAGS), ids=name_of)
def test_parity_in_scan(flags):
    assert_parity("float32", "scan", flags)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.thorough)])
@some_flags
@pytest.mark.parametrize("drive", drives.DRIVES)
def test_parity(drive, flags, dtype):
    assert_parity(dtype, drive, flags)


@every_dtype
@every_flag
@pytest.mark.parametrize("drive", one_in(0, drives.DRIVES, thorough=4))
def test_parity_of_every_flag(drive, flags, dtype):
    assert_parity(dtype, drive, flags)


def test_the_documented_tail_of_fused_is_real():
    params, gradients = random_run(np.float32, steps=50)
    steps = by_step(gradients)
    loop = torch_run(params, steps, lr=LR, momentum=0.9, foreach=False)
    assert differing_bits(loop, torch_run(params, steps, lr=LR, momentum=0.9, fused=True)) > 0
