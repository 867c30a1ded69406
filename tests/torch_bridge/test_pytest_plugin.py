"""The pytest plugin, in pytest: with and without torch, with and without pytest-xdist."""

import dataclasses
import json
import os
import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import optax
import pytest

import torch_bridge
from torch_bridge import pytest_plugin
from torch_bridge.parity.fixture import report_name
from torch_bridge.parity.golden import GoldenError, golden
from torch_bridge.parity.golden_files import Usage

ROOT = Path(__file__).parents[2]

PORT = """
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch_bridge

X = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)

def loss_fn(params, batch):
    return ((batch @ params["weight"].T + params["bias"]) ** 2).mean()

def original(lr=0.1):
    import torch
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    with torch_bridge.record(model, optimizer) as recorder:
        for at in (0, 4):
            recorder.log(indices=range(at, at + 4))
            optimizer.zero_grad()
            (model(torch.from_numpy(X[at : at + 4])) ** 2).mean().backward()
            optimizer.step()
    return recorder

def other_rate():
    return original(lr=0.2)

def not_called():
    raise AssertionError("a golden trace that is there is loaded")

PORT = {"loss_fn": loss_fn, "data": X}
"""
"""What the inner tests begin with."""

NO_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, NoTorch())
sys.modules.pop("torch", None)
"""
"""The conftest of a machine without torch."""


def names(text):
    """The names that the inner tests' source defines, here; so everything that inner runs import is imported."""
    scope = {}
    exec(compile(text, "port", "exec"), scope)
    return scope


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """The recorded run, and one with another rate, as files. pytester forgets modules that an inner run imports, which
    jax and torch do not stand: a check here imports all of them."""
    folder, port = tmp_path_factory.mktemp("traces"), names(PORT)
    port["original"]().save(folder / "run.trace")
    port["other_rate"]().save(folder / "other.trace")
    recorded = torch_bridge.Trace.load(folder / "run.trace")
    assert torch_bridge.check(recorded, optax.sgd(0.1), **port["PORT"]).verdict == "same function"
    return folder


class Inner:
    """A project with tests, and pytest in it."""

    def __init__(self, pytester, traces, workers):
        self.pytester, self.path, self.traces, self.workers = pytester, pytester.path, traces, workers

    def write(self, tests, name="test_port", torch=True):
        self.pytester.makeconftest("" if torch else NO_TORCH)
        (self.path / f"{name}.py").write_text(f"{PORT}\nTRACES = {str(self.traces)!r}\n{tests}")

    def give(self, trace="run.trace", *, name="linear", file="test_port"):
        """Put a golden trace there."""
        path = self.path / "golden" / file / f"{name}.trace"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((self.traces / trace).read_bytes())
        return path

    def run(self, *arguments, **outcomes):
        """Run pytest and return what it says; ``passed=1, failed=2`` is what is expected of it."""
        options = ["-p", "torch_bridge.pytest_plugin", "-p", "no:cacheprovider", "--strict-markers", "-rfEs"]
        options += ["-p", "xdist", "-n", str(self.workers)] if self.workers else []
        result = self.pytester.runpytest_inprocess(*options, *arguments)
        result.assert_outcomes(**outcomes)
        return result.stdout.str()

    def reports(self):
        return {data["test"]: data["checks"] for data in map(load, (self.path / "reports").glob("*.json"))}


def load(path):
    return json.loads(path.read_text())


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch):
    """Load plugins by name alone: installed ones cost seconds a run. Print long lines."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.fixture(params=[0, pytest.param(2, marks=pytest.mark.exhaustive)], ids=["alone", "xdist"])
def inner(request, pytester, traces):
    return Inner(pytester, traces, request.param)


GOLDEN = """
def test_golden(parity):
    assert parity.golden("linear", {record}).n_steps == 2
"""
UNUSED = "golden traces that no test used"


def test_checks_and_their_reports(inner):
    inner.write("""
def test_same(parity):
    report = parity.check(f"{TRACES}/run.trace", optax.sgd(0.1), **PORT)
    assert parity.reports == [report]

def test_other(parity):
    trace = torch_bridge.Trace.load(f"{TRACES}/run.trace")
    parity.check(trace, optax.sgd(0.1))
    parity.check(trace, optax.sgd(0.3))

def test_recorder(parity):
    parity.check(original(), optax.sgd(0.1))

def test_loss(parity):
    parity.check(f"{TRACES}/run.trace", loss_fn=lambda p, b: 2 * loss_fn(p, b), tx=optax.sgd(0.1), data=X)
""")
    said = inner.run("--parity-report=reports", passed=2, failed=2)
    assert "different, first at step 0 of 2 (from 0), in parameter of bias[0]: torch " in said
    assert "in float64  compared" in said
    assert "phase      values  differ  worst ulps  at step  in" in said
    assert "in loss: torch " in said
    assert "FAILED test_port.py::test_loss - Failed: different, first at step 0 of 2 (from 0), in loss: torch" in said
    assert "def test_other" not in said  # no traceback: what matters is the port
    path = inner.path / "reports" / report_name("test_port.py::test_other")
    assert f"report: {path}" in said
    assert path.with_suffix(".2.html").read_text().startswith("<!doctype html>")
    assert {test: [check["ok"] for check in checks] for test, checks in inner.reports().items()} == {
        "test_port.py::test_same": [True],
        "test_port.py::test_other": [True, False],
        "test_port.py::test_recorder": [True],
        "test_port.py::test_loss": [False],
    }


def test_a_missing_golden_trace_is_made_on_request_and_loaded_without_torch(inner):
    inner.write(GOLDEN.format(record="original"))
    path = inner.path / "golden" / "test_port" / "linear.trace"
    said = inner.run(failed=1)
    assert f"there is no golden trace {path}: make it, where torch is installed, with" in said
    assert "pytest test_port.py::test_golden --parity-update" in said
    assert not path.exists()
    assert f"made {path}: 2 steps" in inner.run("--parity-update", passed=1)
    assert list(path.parent.iterdir()) == [path]
    assert torch_bridge.compare(torch_bridge.Trace.load(path), torch_bridge.Trace.load(inner.traces / "run.trace"))
    inner.write(GOLDEN.format(record="not_called"), torch=False)
    said = inner.run(passed=1)
    assert "golden traces" not in said


def test_a_golden_trace_is_never_replaced_silently(inner):
    inner.write(GOLDEN.format(record="original"))
    path = inner.give("other.trace")
    before = path.read_bytes()
    said = inner.run("--parity-update", failed=1)
    assert f"the golden trace {path} is not what torch does now: first at step 0 in learning rate of group 0" in said
    assert "pytest test_port.py::test_golden --parity-replace" in said
    assert path.read_bytes() == before
    said = inner.run("--parity-replace", passed=1)
    assert f"replaced {path}: first at step 0 in learning rate of group 0, 0.2 there, 0.1 now" in said
    assert path.read_bytes() != before
    now = path.stat()
    for option in ("--parity-update", "--parity-replace"):
        assert "golden traces" not in inner.run(option, passed=1)
    assert path.stat().st_mtime_ns == now.st_mtime_ns


def test_a_damaged_golden_trace(inner):
    inner.write(GOLDEN.format(record="original"))
    path = inner.give()
    whole = path.read_bytes()
    for option, content, reason in (
        ((), whole[:1000] + b"?" + whole[1001:], "is not a trace"),
        (("--parity-update",), whole[:-1], "is not whole"),
    ):
        path.write_bytes(content)
        said = inner.run(*option, failed=1)
        assert f"the golden trace cannot be read: {path} {reason}" in said
        assert "Take it from version control again" in said
    assert f"replaced {path}: {path} is not whole" in inner.run("--parity-replace", passed=1)
    assert torch_bridge.Trace.load(path).n_steps == 2


def test_recording_without_torch(inner):
    inner.write(
        GOLDEN.format(record="original")
        + """
def needs_another():
    import no_such_module

def test_other_module(parity):
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        parity.golden("other", needs_another)
""",
        torch=False,
    )
    said = inner.run("--parity-update", passed=1, failed=1)
    assert "is recorded from torch, which cannot be imported here: No module named 'torch'" in said
    assert "Run with --parity-update or --parity-replace where torch is installed" in said


def test_what_is_given_wrongly_is_named(inner):
    inner.write("""
def test_name(parity):
    with pytest.raises(ValueError, match=r"golden trace '../x': the name becomes a file's"):
        parity.golden("../x", original)

def test_record(parity):
    with pytest.raises(TypeError, match=r"returned None: return the recorder"):
        parity.golden("none", lambda: None)

def test_type(parity):
    with pytest.raises(TypeError, match=r"parity.check got 3: give the recorded PyTorch run"):
        parity.check(3, optax.sgd(0.1))

def test_path(parity):
    with pytest.raises(FileNotFoundError, match=r"there is no trace absent.trace .seen from .*parity.golden"):
        parity.check("absent.trace", optax.sgd(0.1))

def test_keyword(parity):
    with pytest.raises(TypeError, match="lossfn"):
        parity.check(f"{TRACES}/run.trace", optax.sgd(0.1), lossfn=loss_fn)
""")
    inner.run("--parity-update", passed=5)


def test_a_report_folder_that_is_a_file(inner):
    inner.write("")
    (inner.path / "reports").write_text("")
    result = inner.pytester.runpytest_inprocess("-p", "torch_bridge.pytest_plugin", "--parity-report=reports")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*reports is a file: give a folder, or the name of a new one"])


@pytest.mark.parametrize("installed", [True, False], ids=["torch", "no torch"])
def test_needs_torch(inner, installed):
    inner.write("@pytest.mark.needs_torch\ndef test_original():\n    original()\n", torch=installed)
    said = inner.run(passed=installed, skipped=not installed)
    assert ("test_port.py:" in said and "torch cannot be imported: No module named 'torch'" in said) is not installed


@pytest.fixture
def with_unused(inner):
    """Of a file's two golden traces one is used; another file is gone, and its trace is left."""
    inner.write(GOLDEN.format(record="not_called") + "\ndef test_more():\n    pass\n")
    inner.give()
    inner.give(name="of_old")
    inner.give(name="of_a_file", file="test_gone")
    return inner


def test_unused_golden_traces_are_listed(with_unused):
    said = with_unused.run(passed=2).partition(UNUSED)[2]
    listed = [line for line in said.splitlines() if line.startswith("golden")]
    assert [Path(line) for line in listed] == [
        Path("golden/test_gone/of_a_file.trace"),
        Path("golden/test_port/of_old.trace"),
    ]


def test_a_run_of_a_part_does_not_call_a_trace_unused(with_unused):
    assert UNUSED not in with_unused.run("test_port.py::test_golden", passed=1)
    said = with_unused.run("-k", "test_more", passed=1)
    assert "of_old" not in said
    assert "linear" not in said


@pytest.mark.parametrize(
    ("end", "outcomes"), [("assert False", {"failed": 1}), ("pytest.skip('today')", {"skipped": 1})]
)
def test_a_test_that_did_not_end_might_have_used_a_trace(inner, end, outcomes):
    inner.write(f"def test_ends(parity):\n    {end}\n    parity.golden('linear', original)\n")
    inner.give()
    assert UNUSED not in inner.run(**outcomes)


@pytest.mark.thorough
def test_workers_tell_what_they_did(pytester, traces):
    inner = Inner(pytester, traces, 2)
    made = """
@pytest.mark.parametrize("name", ["a", "b"])
def test_port(parity, name):
    parity.check(parity.golden(name, lambda: torch_bridge.Trace.load(f"{TRACES}/run.trace")), optax.sgd(0.1))
"""
    inner.write(made, torch=False)
    inner.write("@pytest.mark.needs_torch\ndef test_original():\n    original()\n", "test_torch", torch=False)
    b, old, maybe = inner.give(name="b"), inner.give(name="of_old"), inner.give(name="of_torch", file="test_torch")
    before = b.stat().st_mtime_ns
    said = inner.run("--parity-update", "--parity-report=reports", passed=2, skipped=1)
    a = b.with_name("a.trace")
    assert [path for path in (a, b) if f"made {path}: 2 steps" in said] == [a]
    assert sorted(b.parent.iterdir()) == [a, b, old]
    assert b.stat().st_mtime_ns == before
    assert {test: [check["ok"] for check in checks] for test, checks in inner.reports().items()} == {
        f"test_port.py::test_port[{name}]": [True] for name in "ab"
    }
    assert "torch cannot be imported: No module named 'torch'" in said
    listed = [line for line in said.partition(UNUSED)[2].splitlines() if line.endswith(".trace")]
    assert listed == [str(old.relative_to(inner.path))]  # and not what the skipped test might have used
    assert maybe.exists()


def test_a_trace_that_another_process_just_made_is_not_replaced(tmp_path, traces, monkeypatch):
    path, link = tmp_path / "linear.trace", os.link

    def later(source, target):
        path.write_bytes((traces / "other.trace").read_bytes())
        link(source, target)

    monkeypatch.setattr(os, "link", later)
    mine = torch_bridge.Trace.load(traces / "run.trace")
    with pytest.raises(GoldenError, match="is not what torch does now"):
        golden(path, lambda: mine, "update", "pytest", print)
    assert torch_bridge.compare(torch_bridge.Trace.load(path), mine).first.phase == "learning_rate"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_recording_differs_in(traces, tmp_path):
    held = torch_bridge.Trace.load(traces / "run.trace")
    bias = held.initial["parameter/bias"]

    def difference(**changes):
        path = tmp_path / "held.trace"
        held.save(path)
        with pytest.raises(GoldenError) as caught:
            golden(path, lambda: dataclasses.replace(held, **changes), "update", "pytest", print)
        return str(caught.value).partition("now: ")[2].partition("\n")[0]

    assert difference(static={**held.static, "n_steps": 1}) == "2 steps there, 1 now"
    steps = {key: value for key, value in held.steps.items() if key != "loss"}
    assert difference(steps=steps) == "only one of the two has loss"
    assert difference(initial={}) == "only one of the two has parameter/bias, parameter/weight before the first step"
    assert difference(initial={**held.initial, "parameter/bias": bias + 1}) == (
        "another parameter/bias before the first step"
    )
    assert difference(initial={**held.initial, "parameter/bias": bias.astype(np.float64)}) == (
        "parameter/bias is float32[1] there, float64[1] now"
    )


def test_replacing_keeps_up_with_the_header(traces, tmp_path):
    path, said = tmp_path / "held.trace", []
    held = torch_bridge.Trace.load(traces / "run.trace")
    held.save(path)
    changed = dataclasses.replace(held, static={**held.static, "note": "new"})
    golden(path, lambda: changed, "update", "pytest", said.append)
    assert said == []
    golden(path, lambda: changed, "replace", "pytest", said.append)
    assert said == [f"replaced {path}: the same run in every bit, with another header or other twins"]
    assert torch_bridge.Trace.load(path).static["note"] == "new"
    written = path.stat()
    golden(path, lambda: changed, "replace", "pytest", said.append)
    assert len(said) == 1
    assert path.stat().st_mtime_ns == written.st_mtime_ns


def test_a_lost_worker_leaves_the_answer_open(tmp_path):
    file = tmp_path / "test_port.py"
    file.write_text("")
    trace = tmp_path / "golden" / "test_port" / "linear.trace"
    trace.parent.mkdir(parents=True)
    trace.write_text("")
    usage = Usage(passed={"test_port.py::test"})
    usage.collect([(file, "test_port.py::test")])
    assert usage.unused() == [trace]
    whole = Usage(passed=usage.passed)
    whole.receive(json.loads(json.dumps(usage.sent())))
    assert whole.unused() == [trace]
    whole.receive(None)
    assert whole.unused() == []


def test_report_names_are_valid_everywhere_and_differ():
    tests = ["a.py::test[x/y]", "a.py::test[x y]", "a.py::test[" + "long" * 100 + "]", "a.py::test[ü]"]
    names = {report_name(test) for test in tests}
    assert len(names) == len(tests)
    assert all(re.fullmatch(r"[\w.-]{1,200}", name, re.ASCII) for name in names)


def test_the_entry_point():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert declared == {"torch_bridge.pytest_plugin": "torch_bridge.pytest_plugin"}
    for name, value in declared.items():
        assert EntryPoint(name, value, "pytest11").load() is pytest_plugin
