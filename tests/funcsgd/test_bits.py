"""Bits in every kind of program: both arithmetics against torch."""

import os
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

import funcsgd
from tests.support.bits.check import differences
from tests.support.bits.scenarios import is_known_gap, long_list, short_list
from tests.support.bits.torch_results import torch_result
from tests.support.sampling import one_in
from tests.support.torch_runs import differing_bits, torch_run

SHARDED = ("shard_map", "FSDP")  # in a process of their own, which has two devices
SHORT = [scenario for scenario in short_list() if scenario.drive not in SHARDED]
QUICK = SHORT[1::4]  # a call with schedules, one with arrays, and a loop
LONG = [*(scenario for scenario in SHORT if scenario not in QUICK)]
LONG += [scenario for scenario in long_list() if scenario.drive not in SHARDED and scenario not in SHORT]


@pytest.mark.parametrize("exact", [False, True], ids=["marked", "exact"])
@pytest.mark.parametrize("scenario", [*QUICK, *one_in(0, LONG, thorough=8)], ids=str)
def test_every_kind_of_program(scenario, exact):
    found = differences(scenario, torch_result(scenario), exact)
    assert [x for x in found if exact or not is_known_gap(x.shape)] == []


@pytest.mark.thorough
def test_two_devices_a_compiler_that_does_not_fuse_and_a_file_of_torchs_results(tmp_path):
    file = str(tmp_path / "torch.npz")
    command = [sys.executable, "-m", "tests.support.bits.check"]
    subprocess.run([*command, "write", file, "sharded"], check=True)
    done = subprocess.run([*command, "read", file, "sharded"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "differing leaves: 0" in done.stdout

    without_fma = {**os.environ, "XLA_FLAGS": "--xla_cpu_max_isa=AVX"}
    done = subprocess.run(
        [*command, "read", file, "sharded"], check=False, capture_output=True, text=True, env=without_fma
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert any(line.startswith("marked") for line in lines)
    assert not any(line.startswith("exact") for line in lines)
    assert "rounding (a product and a sum are not fused)" in lines[-1]


@pytest.mark.thorough
@pytest.mark.parametrize("scenario", [x for x in SHORT if x.drive == "several updates"], ids=str)
def test_the_exact_arithmetic_eagerly(scenario):
    with jax.disable_jit():
        assert differences(scenario, torch_result(scenario), exact=True) == []
        assert differences(scenario, torch_result(scenario), exact=False) != []


@pytest.mark.parametrize("nesterov", [False, True])
def test_equal_factors_and_a_state_made_in_the_program_of_its_updates(nesterov):
    """Products that a compiler would share: ``momentum * buffer`` with the step along it and with the next update."""
    rng = np.random.default_rng(0)
    p, gradients = rng.standard_normal(1003).astype("f"), rng.standard_normal((3, 1003)).astype("f")
    options = {"lr": 0.9, "momentum": 0.9, "weight_decay": 0.9, "nesterov": nesterov}
    tx = funcsgd.sgd(0.9, 0.9, weight_decay=0.9, nesterov=nesterov)

    @jax.jit
    def three_updates(p, gradients):
        state = tx.init(p)
        for g in gradients:
            updates, state = tx.update(g, state, p)
            p = optax.apply_updates(p, updates)
        return p

    theirs = torch_run([p], [[g] for g in gradients], **options)
    assert differing_bits([three_updates(p, list(gradients))], [theirs[0][-1]]) == 0
