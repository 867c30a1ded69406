import io
import json
from importlib.metadata import version

import numpy as np
import pytest
from rich.console import Console
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from tests.support.sampling import one_in
from torch_bridge.cli import app
from torch_bridge.demo import FAULTS, golden, recipe, run
from torch_bridge.demo.show import render_demo
from torch_bridge.replaying.restore import restore

QUICK = ("nesterov",)  # the others in the thorough run


@pytest.fixture(scope="module")
def shipped():
    return golden.load()


def test_the_shipped_digits_are_those_of_scikit_learn(shipped):
    x, y = golden.digits(shipped)
    pixels, labels = load_digits(return_X_y=True)
    assert np.array_equal(x, (pixels / 16).astype(np.float32))
    assert np.array_equal(y, labels)


def test_the_golden_trace_is_small_and_names_its_origin(shipped):
    assert golden.PATH.stat().st_size < 2_000_000
    assert shipped.static["versions"]["torch"].startswith("2.13.0")
    assert shipped.static["provenance"]["recorded_by"] == "python -m torch_bridge.demo.record_golden"
    assert len(shipped.twins) >= 3


def test_the_golden_trace_can_be_restored(shipped):
    restored = restore(shipped)
    assert not restored.digests
    assert restored.n_steps == recipe.N_STEPS


@pytest.mark.parametrize("live", one_in(0, [True, False]))
def test_the_port_agrees_with_torch(live):
    result = run(live=live)
    assert result.ok
    assert result.report.verdict == "same function"
    assert result.report.drives["update"].identical
    assert len(result.report.loss_steps) >= 3
    assert (result.golden is not None) is live
    assert result.torch_accuracy > 0.85
    console = Console(width=100, file=io.StringIO())
    console.print(render_demo(result))
    shown = console.file.getvalue()
    assert "update: identical in every bit" in shown
    assert "held-out accuracy" in shown


@pytest.mark.parametrize("fault", [*QUICK, *one_in(0, [name for name in FAULTS if name not in QUICK], thorough=6)])
def test_each_fault_is_found_at_its_step_and_phase(fault):
    planted, report = FAULTS[fault], run(fault, live=False).report
    assert not report.ok
    assert report.verdict == planted.verdict, report
    if planted.verdict == "imprecise":
        assert report.imprecision.phase == planted.phase
        assert report.line
    else:
        assert (report.difference.step, report.difference.phase) == (planted.step, planted.phase), report
    assert [cause.name for cause in report.causes] == [planted.cause], report.tried


@pytest.mark.thorough
def test_the_exit_status_of_a_port_that_is_the_same(tmp_path):
    report = tmp_path / "r.json"
    good = CliRunner().invoke(app, ["demo", "--report", str(report)])
    assert good.exit_code == 0, good.output
    assert json.loads(report.read_text())["report"]["verdict"] == "same function"


@pytest.mark.thorough
def test_the_exit_status_of_a_port_with_a_fault(tmp_path):
    report = tmp_path / "r.json"
    bad = CliRunner().invoke(app, ["demo", "--report", str(report), "--fault", "schedule-late"])
    assert bad.exit_code == 1
    assert "first at step 38 of 114 (from 0), in learning rate" in bad.output
    assert json.loads(report.read_text())["fault"] == "schedule-late"


def test_the_command_line_refuses_before_it_works(tmp_path):
    def demo(*options):
        return CliRunner().invoke(app, ["demo", *options])

    unknown = demo("--fault", "nonsense")
    assert unknown.exit_code == 2
    assert all(name in unknown.output for name in FAULTS)
    nowhere = demo("--report", str(tmp_path / "absent" / "r.json"))
    assert nowhere.exit_code == 2
    assert "--report" in nowhere.output
    assert CliRunner().invoke(app, ["demo", "--nonsense"]).exit_code == 2


@pytest.mark.parametrize("error", [ImportError("damaged"), ValueError("no bits"), OSError("full")])
def test_what_could_not_run_is_no_divergence(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("torch_bridge.cli.demo.run", fail)
    shown = CliRunner().invoke(app, ["demo", "--report", str(tmp_path / "r.json")])
    assert shown.exit_code == 2
    assert str(error) in shown.output


def test_version_and_help():
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.output) == (0, f"torch-bridge {version('funcsgd')}\n")
    shown = CliRunner().invoke(app, ["demo", "--help"], terminal_width=200, env={"NO_COLOR": "1", "COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "--fault" in shown.output
