"""The script of a first difference shows it by itself, and shows that it is gone when the port is mended."""

import dataclasses
import functools
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import funcsgd
import torch_bridge
from tests.examples.run_without import PROGRAM
from tests.support.reports import EVIL
from tests.support.sampling import one_in
from tests.support.small_run import DATA, loss_fn, recorded
from torch_bridge.demo import FAULTS, run
from torch_bridge.judge.saved_step import SavedStep, one_step, structure_of

ROOT = str(Path(__file__).parents[3])


@pytest.fixture(scope="module")
def trace():
    return recorded()


def status(script):
    """The exit status of a script, which runs in this process."""
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(script), run_name="__main__")
    return left.value.code


WRONG = funcsgd.sgd(0.1, momentum=0.9, weight_decay=2e-2)


def doubled(params, batch):
    return 2 * loss_fn(params, batch)


def test_a_fault_of_the_rule(trace, tmp_path, capsys):
    report = torch_bridge.check(trace, WRONG, loss_fn=loss_fn, data=DATA)
    script, arrays = report.reproduce(tmp_path / "shown.py", port=f"{__file__}:wrong_port")
    assert arrays == tmp_path / "shown.npz"
    assert status(script) == 1
    out = capsys.readouterr().out
    assert re.match(r"weight decay of \S+ at step 0\ntorch  \S+\nJAX    \S+\nrelative distance", out)
    assert f"torch  {report.difference.torch:.17g}" in out
    assert f"JAX    {report.difference.jax:.17g}" in out
    report.reproduce(script, port=f"{__file__}:right_port")
    assert status(script) == 0
    assert len(script.read_text().splitlines()) < 20


def wrong_port():
    return {"tx": WRONG, "loss_fn": loss_fn}


def right_port():
    return {"tx": funcsgd.sgd(0.1, momentum=0.9, weight_decay=1e-2), "loss_fn": loss_fn}


@pytest.mark.thorough
def test_what_has_no_name_is_filled_in(trace, tmp_path):
    report = torch_bridge.check(trace, right_port()["tx"], loss_fn=functools.partial(doubled), data=DATA)
    script, _ = report.reproduce(tmp_path / "shown.py")
    with pytest.raises(NotImplementedError, match=r"fill in make_loss_fn\(\) in this script: return the loss function"):
        runpy.run_path(str(script), run_name="__main__")
    place = re.compile(r"    raise NotImplementedError\(.*\)")
    for body, expected in (("doubled", 1), ("loss_fn", 0)):
        filled = tmp_path / f"{body}.py"
        source = f"    from tests.torch_bridge.judge import test_reproduction as port\n    return port.{body}"
        source = source.replace("    from tests.torch_bridge.judge import test_reproduction as port\n", "")
        source = source.replace(f"port.{body}", f"__import__('runpy').run_path({__file__!r})['{body}']")
        filled.write_text(place.sub(lambda _, source=source: source, script.read_text()))
        (tmp_path / f"{body}.npz").write_bytes((tmp_path / "shown.npz").read_bytes())
        assert status(filled) == expected


@pytest.mark.thorough
def test_a_step_function_at_a_later_step(trace, tmp_path, capsys):
    start = {name: jnp.asarray(trace.initial[f"parameter/{name}"]) for name in trace.static["shapes"]}

    def step(state, batch):
        count, params, buffers = state
        loss, gradient = jax.value_and_grad(loss_fn)(params, batch)
        momentum = jnp.where(count >= 2, 0.8, 0.9)
        buffers = jax.tree.map(lambda b, g, p: momentum * b + (g + 1e-2 * p), buffers, gradient, params)
        params = jax.tree.map(lambda p, b: p - 0.1 * b, params, buffers)
        observed = {"loss": loss, "gradient": gradient, "parameter": params, "momentum_buffer": buffers}
        return (count + 1, params, buffers), observed

    state = (jnp.array(0), start, jax.tree.map(jnp.zeros_like, start))
    report = torch_bridge.check(trace, step=step, state=state, data=DATA)
    assert (report.difference.step, report.difference.phase) == (2, "momentum_buffer")
    _, arrays = report.reproduce(tmp_path / "shown.py")
    from torch_bridge.judge.reproduction import show

    assert show(arrays, step=step, state=state) == 1
    assert "at step 2" in capsys.readouterr().out


def test_what_cannot_be_reproduced_is_refused(trace, tmp_path):
    right, wrong = (torch_bridge.check(trace, tx) for tx in (right_port()["tx"], WRONG))
    with pytest.raises(ValueError, match="there is no difference to show"):
        right.reproduce(tmp_path / "shown.py")
    with pytest.raises(ValueError, match="give a name that ends in"):
        wrong.reproduce(tmp_path / "shown")
    with pytest.raises(ValueError, match="does not hold its run any more"):
        dataclasses.replace(wrong, origin=None).reproduce(tmp_path / "shown.py")


def test_a_name_in_a_trace_is_no_code(trace, tmp_path):
    report = torch_bridge.check(trace, WRONG)
    evil = dataclasses.replace(report.difference, name='"""\nraise SystemExit(7)\n' + EVIL)
    script, _ = dataclasses.replace(report, difference=evil).reproduce(tmp_path / "shown.py")
    assert status(script) == 1


def test_a_saved_step_comes_back_as_it_was(tmp_path):
    half = np.arange(3).astype(ml_dtypes.bfloat16)
    structure, leaves = structure_of({"x": [half, (np.float32(2), 3)], "y": np.int8([1])})
    saved = SavedStep(
        one_step({"a": 1}, {"parameter/w": half}, {"loss": np.float32(1)}, {"loss": np.float64(2)}),
        "loss", "", 5, (np.uint32([1]), None), leaves, structure,
    )  # fmt: skip
    saved.save(tmp_path / "s.npz")
    again = SavedStep.load(tmp_path / "s.npz")
    assert (again.phase, again.step, again.carried[1]) == ("loss", 5, None)
    assert again.trace.initial["parameter/w"].tobytes() == half.tobytes()
    assert again.trace.initial["parameter/w"].dtype == half.dtype
    assert again.trace.value("loss", 0) == 1
    assert again.trace.twins[0]["loss"] == 2
    batch = again.whole_batch
    assert (type(batch["x"][1]), batch["x"][1][1], batch["y"].dtype) == (tuple, 3, np.int8)
    assert structure_of({"x": object()})[0] is None


PHASES = {(fault.phase, fault.verdict): name for name, fault in FAULTS.items()}
ONE_OF_EACH_PHASE = sorted(PHASES.values(), key=lambda name: name != "schedule-late")


def in_a_process(script):
    environment = {**os.environ, "PYTHONPATH": ROOT}
    command = [sys.executable, "-c", PROGRAM, str(script), "torch"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("fault", one_in(0, ONE_OF_EACH_PHASE, thorough=12))
def test_a_fault_of_each_phase_of_the_demo(fault, tmp_path, capsys):
    report = run(fault, live=False).report
    script, _ = report.reproduce(tmp_path / "shown.py", port=f"tests.support.demo_ports:{fault.replace('-', '_')}")
    assert status(script) == 1
    assert "\nJAX    " in capsys.readouterr().out
    if fault == "schedule-late":  # one of them by itself, as a user runs it, and without torch
        done = in_a_process(script)
        assert done.returncode == 1, done.stderr
        assert "learning rate" in done.stdout
