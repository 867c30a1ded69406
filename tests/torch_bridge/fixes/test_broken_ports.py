"""Someone who has the report alone repairs a port: its own fix, applied as it is proposed, makes the port pass."""

import json
import shutil

import pytest
from typer.testing import CliRunner

import torch_bridge
from tests.support.broken_ports import BROKEN, FOLDER
from tests.support.sampling import one_in
from torch_bridge.cli import app
from torch_bridge.cli.port_file import load_port

QUICK = ("decay_masked",)


def invoked(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("name", [*QUICK, *one_in(0, [n for n in BROKEN if n not in QUICK], thorough=5)])
def test_the_reports_own_fix_makes_the_port_pass(tmp_path, name):
    broken, file = BROKEN[name], tmp_path / f"{name}.py"
    broken.run().save(tmp_path / "run.trace")
    shutil.copy(FOLDER / file.name, file)
    result = invoked("check", tmp_path / "run.trace", file, "--fix", "--report", tmp_path / "report")
    assert result.exit_code == 1, result.output
    (cause,) = json.loads((tmp_path / "report" / "report.json").read_text())["causes"]
    assert cause["name"] == broken.cause
    before, after = (FOLDER / file.name).read_text().splitlines(), file.read_text().splitlines()
    assert broken.fixed in [line.strip() for line in after]
    assert len([line for line in after if line not in before]) <= 1 + len(broken.imported)
    assert sorted(before) == sorted(after) or broken.fixed not in [line.strip() for line in before]
    for edit in cause["edits"]:
        assert all(f"- {line}" in result.stdout for line in edit["old"].splitlines())
        assert all(f"+ {line}" in result.stdout for line in edit["new"].splitlines())
    assert f"+++ {file}, fixed" in result.stdout
    trace = torch_bridge.Trace.load(tmp_path / "run.trace")
    passed = torch_bridge.check(trace, **load_port(str(file), trace), explain=False)
    assert passed.ok, passed
