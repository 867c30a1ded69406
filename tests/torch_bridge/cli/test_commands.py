"""The commands that compare: exit statuses 0 the same, 1 different, 2 could not compare; text or JSON."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import funcsgd
import torch_bridge
from tests.support import small_port
from tests.support.small_files import written
from tests.support.small_run import recorded
from torch_bridge.cli import app

PORT = str(Path(small_port.__file__))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("traces")
    trace = recorded()
    trace.save(folder / "run.trace")
    for name, decay in (("same", 1e-2), ("other", 2e-2)):
        tx = funcsgd.sgd(0.1, 0.9, weight_decay=decay)
        torch_bridge.replay(trace, tx, drive="update").save(folder / f"{name}.trace")
    return folder


def invoked(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_check_of_a_port_in_a_file_and_in_a_module(folder):
    status, text, _ = invoked("check", folder / "run.trace", PORT)
    assert status == 0
    assert "the same function" in text
    status, text, _ = invoked("check", folder / "run.trace", "tests.support.small_port:wrong", "--json")
    assert status == 1
    report = json.loads(text)
    assert (report["verdict"], report["difference"]["phase"]) == ("different", "weight_decay")


def test_check_writes_its_report(folder, tmp_path):
    arguments = ("check", folder / "run.trace", f"{PORT}:wrong", "--github")
    status, text, _ = invoked(*arguments, "--report", tmp_path / "new")
    assert status == 1
    assert json.loads((tmp_path / "new" / "report.json").read_text())["ok"] is False
    assert {"report.html", "junit.xml", "reproduce.py", "reproduce.npz"} < {
        path.name for path in (tmp_path / "new").iterdir()
    }
    assert f"::error file={PORT},title=different::different, first at step 0" in text
    status, _, complaint = invoked(*arguments, "--report", tmp_path / "new" / "report.json")
    assert (status, "is a file: give a folder" in complaint) == (2, True)


def test_preflight(folder):
    status, text, _ = invoked("preflight", folder / "run.trace", PORT)
    assert (status, "nothing differs" in text) == (0, True)
    status, text, _ = invoked("preflight", folder / "run.trace", f"{PORT}:wrong", "--json")
    assert (status, [finding["name"] for finding in json.loads(text)["findings"]]) == (1, ["weight decay"])
    assert (
        "with weight_decay=0.01, the port as with 0.02"
        in invoked("preflight", folder / "run.trace", f"{PORT}:wrong")[1]
    )


def test_diff(folder):
    status, text, _ = invoked("diff", folder / "run.trace", folder / "same.trace")
    assert status == 0
    assert "identical in every bit" in text
    status, text, _ = invoked("diff", folder / "run.trace", folder / "other.trace", "--json")
    assert status == 1
    assert json.loads(text)["first"]["phase"] == "weight_decay"


def test_show(folder):
    status, text, _ = invoked("show", folder / "run.trace")
    assert status == 0
    for words in ("torch.optim.sgd.SGD", "momentum=0.9", "momentum_buffer"):
        assert words in text
    data = json.loads(invoked("show", folder / "run.trace", "--json")[1])
    assert data["steps"] == 6
    assert [row["arrays"] for row in data["quantities"] if row["phase"] == "gradient"] == [4]


def test_runs_of_one_file_are_named(folder, tmp_path):
    path = written(tmp_path / "gan.trace", runs=("discriminator", "generator"))
    status, _, complaint = invoked("show", path)
    assert (status, "holds 2 runs: name one with run= (--run), of 'discriminator'" in complaint) == (2, True)
    assert json.loads(invoked("show", path, "--run", "generator", "--json")[1])["run"] == "generator"
    assert invoked("diff", path, path, "--run", "generator")[0] == 0
    assert invoked("diff", path, path, "--run", "generator", "--other-run", "discriminator")[0] == 1
    torch_bridge.Trace.load(path, "generator").save(tmp_path / "alone.trace")
    assert invoked("diff", path, tmp_path / "alone.trace", "--run", "generator")[0] == 0
    assert invoked("diff", path, tmp_path / "alone.trace", "--run", "discriminator")[0] == 1
    assert invoked("port", path, "-o", tmp_path / "port.py", "--run", "generator")[0] == 0
    assert "gan.trace', 'generator')" in (tmp_path / "port.py").read_text()
    assert invoked("explain", path, "--run", "generator")[0] == 0


def test_a_trace_that_was_cut_off_says_so(folder, tmp_path):
    (tmp_path / "cut.trace").write_bytes((folder / "run.trace").read_bytes()[:-1])
    status, text, complaint = invoked("show", tmp_path / "cut.trace")
    assert status == 0
    assert "did not come to its end" in text
    assert "cut.trace was cut off: it has the first 6 steps of its run" in complaint


def test_record_keeps_what_it_is_told(tmp_path):
    path, script = tmp_path / "a.trace", Path(__file__).parents[2] / "support" / "scripts" / "gan.py"
    assert invoked("record", "-o", path, "--mode", "ring", "--last", "2", script)[0] == 0
    for trace in torch_bridge.Trace.load_all(path).values():
        assert {len(rows) for rows in trace.kept.values()} == {2}
    assert invoked("record", "-o", path, "--mode", "digest", "--no-gradients", script)[0] == 0
    trace = torch_bridge.Trace.load(path, "generator")
    assert {len(rows) for rows in trace.kept.values()} == {0}
    assert "gradient" in {key.partition("/")[0] for key in trace.digests}
    status, _, complaint = invoked("record", "-o", path, "--mode", "half", script)
    assert (status, "no mode 'half'" in complaint) == (2, True)


def test_map(folder):
    status, text, _ = invoked("map", folder / "run.trace", f"{PORT}:dense")
    assert status == 0
    assert "first/kernel" in text
    rows = json.loads(invoked("map", folder / "run.trace", f"{PORT}:dense", "--json")[1])
    assert {row["leaf"]: row["tensors"] for row in rows}["second/bias"] == ["2.bias"]


def test_port_writes_a_script_that_is_completed_and_checked(folder, tmp_path):
    script = tmp_path / "port.py"
    assert invoked("port", folder / "run.trace", "-o", script)[0] == 0
    assert "'0.weight' (5, 6)" in script.read_text()
    assert "'1' 'Tanh'" in script.read_text() or "'0' 'Linear'" in script.read_text()
    status, _, complaint = invoked("port", folder / "run.trace", "-o", script)
    assert (status, "is there already" in complaint) == (2, True)
    status, _, complaint = invoked("check", folder / "run.trace", script)
    assert status == 2
    assert re.fullmatch(
        r"torch-bridge: port\.py:\d+, in data: NotImplementedError: data is to be filled in\n", complaint
    )
    source = script.read_text().replace("import jax\n", "import jax\nfrom tests.support import small_run\n", 1)
    blank = 'raise NotImplementedError("{} is to be filled in")\n'.format
    source = source.replace(blank("loss_fn"), "return small_run.loss_fn(params, batch)\n")
    source = source.replace(blank("data"), "return small_run.DATA\n")
    script.write_text(source)
    assert invoked("check", folder / "run.trace", script)[0] == 0
    namespace = {"__name__": "port"}
    exec(compile(source, str(script), "exec"), namespace)
    trace = torch_bridge.Trace.load(folder / "run.trace")
    _, losses = namespace["train"](trace)
    assert losses == pytest.approx(trace.steps["loss"].tolist(), rel=1e-4)


@pytest.mark.parametrize(
    ("line", "kind"), [("undefined", "NameError"), ("1 / 0", "ZeroDivisionError"), ("None.w", "AttributeError")]
)
def test_an_error_in_a_port_is_named_with_its_line_and_is_no_finding(folder, tmp_path, line, kind):
    (tmp_path / "broken.py").write_text(f"def port(trace):\n    return {line}\n")
    status, _, complaint = invoked("check", folder / "run.trace", tmp_path / "broken.py")
    assert status == 2
    assert complaint.startswith(f"torch-bridge: broken.py:2, in port: {kind}: ")


def test_port_of_a_stream_takes_the_batches_of_the_trace(tmp_path):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(torch.arange(24.0).reshape(8, 3) / 24)

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer, loader = torch.optim.SGD(model.parameters(), lr=0.1), torch.utils.data.DataLoader(Stream(), 4)
    with torch_bridge.record(model, optimizer, loader=loader, twins=False) as recorder:
        for x in loader:
            optimizer.zero_grad()
            (model(x) ** 3).mean().backward()
            optimizer.step()
    trace = recorder.save(tmp_path / "run.trace")
    assert invoked("port", tmp_path / "run.trace", "-o", tmp_path / "port.py")[0] == 0
    source = (tmp_path / "port.py").read_text()
    assert "Buffers of the model change" in source
    loss = """h = batch @ params["0.weight"].T + params["0.bias"]
    h = (h - h.mean(0)) / jnp.sqrt(h.var(0) + 1e-5) * params["1.weight"] + params["1.bias"]
    return (h**3).mean()
"""
    namespace = {"__name__": "port"}
    exec(compile(re.sub(r"raise NotImplementedError.*\n", loss, source, count=1), "port.py", "exec"), namespace)
    assert namespace["train"](trace)[1] == pytest.approx(trace.steps["loss"].tolist(), rel=1e-3, abs=1e-5)
    assert namespace["data"]() is None


def test_a_name_in_a_trace_is_no_code(folder, tmp_path):
    trace = torch_bridge.Trace.load(folder / "run.trace")
    evil = "w\nraise SystemExit('executed')"
    static = {**trace.static, "shapes": {evil: [1]}, "modules": {evil: evil}}
    dataclasses.replace(trace, static=static).save(tmp_path / "evil.trace")
    assert invoked("port", tmp_path / "evil.trace", "-o", tmp_path / "port.py")[0] == 0
    exec(compile((tmp_path / "port.py").read_text(), "port.py", "exec"), {"__name__": "port"})


def test_explain_as_json(folder):
    data = json.loads(invoked("explain", folder / "run.trace", "--json")[1])
    assert data["funcsgd"].startswith("import funcsgd")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("check", "run.trace", "absent.py"), "there is no file absent.py"),
        (("check", "run.trace", f"{PORT}:absent"), "has no function 'absent'"),
        (("check", "run.trace", "no.such.module:port"), "No module named|there is no module"),
        (("check", "run.trace", f"{PORT}:nothing"), "returned a NoneType: a port is a dict of keywords"),
        (("check", "run.trace", f"{PORT}:strange"), "unexpected keyword argument 'model'"),
        (("map", "run.trace", PORT), "gives no params"),
        (("diff", "run.trace", "absent.trace"), "absent.trace"),
        (("show", "absent.trace"), "absent.trace"),
    ],
    ids=str,
)
def test_what_cannot_be_answered_is_said_with_status_2(folder, arguments, says):
    paths = [folder / name if name.endswith(".trace") else name for name in arguments]
    status, _, complaint = invoked(*paths)
    assert status == 2
    assert re.search(says, complaint), complaint
