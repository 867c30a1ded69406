"""The lecture's Minimal Working Example, step by step against torch, and as the lecture prints it."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

import torch_bridge
from tests.examples.run_without import printed

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def recorded():
    script = runpy.run_path(str(EXAMPLES / "minimal_working_example_in_torch.py"))
    tensors, (loader, _), model, optimizer, scheduler, average = script["objects"]()
    criterion = nn.MSELoss()
    recorder = torch_bridge.record(
        model, optimizer, criterion=criterion, loader=loader, scheduler=scheduler, average=average
    )
    fresh = script["objects"]()[2:]  # made from the same seed, so the stream stands where the first call left it
    for _ in range(script["EPOCHS"]):
        script["train"](loader, model, optimizer, average, criterion)
        scheduler.step()
    x, y = (tensor[:800].numpy() for tensor in tensors[2:])
    return recorder.trace(), fresh, (x, y)


def loss_fn(params, batch):
    x, y = batch
    return ((x @ params["linear.weight"].T + params["linear.bias"] - y) ** 2).mean()


def rule(fresh):
    model, optimizer, scheduler, average = fresh
    names = model.named_parameters()
    return torch_bridge.from_torch(
        optimizer, scheduler, average, named_parameters=names, steps_per_epoch=25, epochs=50
    ).tx


def test_the_same_function_with_every_bit_of_rule_rates_and_average(recorded):
    trace, fresh, data = recorded
    assert trace.n_steps == 1250
    report = torch_bridge.check(trace, rule(fresh), loss_fn=loss_fn, data=data)
    assert report.verdict == "same function", report
    update = report.drives["update"]
    assert update.identical, update
    assert {"momentum_buffer", "learning_rate", "parameter", "average"} <= {row.phase for row in update.rows}
    assert sum(row.values for row in update.rows if row.phase == "average") == 1250 * 6


@pytest.mark.thorough
def test_prints_what_the_lecture_prints():
    command = [sys.executable, str(EXAMPLES / "03_minimal_working_example.py")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # The lecture: "The true value for w_4 (-1.1229) matches closely with both model estimates (-1.1252 and -1.1260)."
    assert "  w4: True=-1.1229, Model=-1.1252, EMA=-1.1260\n" in shown
    assert shown.endswith("PyTorch prints the same.\n")  # every number of the table, to its 6 decimals


def test_prints_the_same_without_torch():
    shown = printed("03_minimal_working_example.py", ["torch", "matplotlib"])
    assert "  w4: True=-1.1229, Model=-1.1252, EMA=-1.1260\n" in shown
    assert "PyTorch prints" not in shown
