"""A recording that is written as the run goes: the same trace, in bounded memory."""

import os
import warnings

import numpy as np
import pytest
import torch

import torch_bridge
from tests.support.small_run import make, train
from torch_bridge.recording.script import record_script
from torch_bridge.trace import log
from torch_bridge.trace.keep import Keep
from torch_bridge.trace.trace import Trace

KEEPS = [None, Keep("digest", every=4), Keep("digest", gradients=False, norms=False), Keep("ring", last=3)]


def assert_same(trace, other):
    assert trace.static == other.static
    assert trace.keys == other.keys
    for room in ("initial", "steps", "kept", "digests", "norms", "present", "extra"):
        mine, others = getattr(trace, room), getattr(other, room)
        assert set(mine) == set(others)
        for key in mine:
            assert np.asarray(mine[key]).tobytes() == np.asarray(others[key]).tobytes()
    assert {t: set(twin) for t, twin in trace.twins.items()} == {t: set(twin) for t, twin in other.twins.items()}


def grown_run(**options):
    """A run whose scheduler tells a metric, and whose optimizer is given parameters, in its middle."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    recorder = torch_bridge.record(model, optimizer, twins=False, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for t in range(6):
            optimizer.zero_grad()
            loss = model(torch.randn(4, 6)).square().mean()
            loss.backward()
            optimizer.step()
            if t == 2:
                optimizer.add_param_group({"params": model[0].parameters()})
            if t >= 3:
                scheduler.step(loss.item())
        recorder.close()
    return recorder.trace()


@pytest.mark.parametrize("keep", KEEPS, ids=str)
def test_a_file_holds_what_memory_holds(keep, tmp_path):
    path = tmp_path / "run.trace"
    streamed, held = grown_run(keep=keep, path=path), grown_run(keep=keep)
    opened = Trace.load(path)
    assert opened.complete
    assert_same(opened, held)
    assert_same(streamed, held)
    assert opened.value("metric", 0) is not None
    assert np.array_equal(opened.value("parameter/0.weight", 1), opened.initial["parameter/0.weight"])


def test_a_file_appears_with_the_first_step_and_ends_with_the_recording(tmp_path):
    path = tmp_path / "run.trace"
    path.write_text("of an earlier run")
    parts = make()
    with torch_bridge.record(*parts[:2], path=path) as recorder:
        assert path.read_text() == "of an earlier run"
        train(*parts)
        assert Trace.load(path).n_steps == recorder.n_steps - 1  # an average may follow the latest step
        assert not Trace.load(path).complete
        assert recorder.trace().n_steps == recorder.n_steps
        with pytest.raises(ValueError, match=r"is written to .*run\.trace as it goes: recorder\.close\(\) ends it"):
            recorder.save(path)
    assert Trace.load(path).complete
    assert Trace.load(path).n_steps == recorder.n_steps
    assert [each.name for each in tmp_path.iterdir()] == ["run.trace"]


def test_a_place_that_cannot_be_written_is_refused_before_anything_runs(tmp_path):
    parts = make()
    for path in (tmp_path / "no" / "such" / "folder.trace", tmp_path):
        with pytest.raises(OSError, match=r"cannot write the trace .*choose another place"):
            torch_bridge.record(*parts[:2], path=path)
    script = tmp_path / "script.py"
    script.write_text("raise SystemExit('it ran')")
    with pytest.raises(OSError, match="cannot write the trace"):
        record_script(script, output=tmp_path / "no" / "run.trace")
    assert list(tmp_path.iterdir()) == [script]


def test_a_full_disk_ends_the_recording_and_not_the_run(tmp_path, monkeypatch):
    whole, path = make(), tmp_path / "run.trace"
    with torch_bridge.record(*whole[:2], twins=False, path=path) as recorder:
        train(*whole)
    write, room = log._write, 0.6 * path.stat().st_size

    def limited(file, buffers, position):
        if position + sum(map(len, buffers)) > room:
            write(file, buffers[:1], position)
            raise OSError("no space left")
        return write(file, buffers, position)

    monkeypatch.setattr(log, "_write", limited)
    parts = make()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with torch_bridge.record(*parts[:2], twins=False, path=path):
            train(*parts)
    said = [str(each.message) for each in warned if "no space left" in str(each.message)]
    assert len(said) == len(set(said)) <= 2
    trace = Trace.load(path)
    assert not trace.complete
    assert 0 < trace.n_steps < recorder.n_steps
    for mine, other in zip(parts[0].parameters(), whole[0].parameters(), strict=True):
        assert torch.equal(mine, other)


def test_a_fork_does_not_write_into_the_file(tmp_path, monkeypatch):
    parts, path = make(), tmp_path / "run.trace"
    with torch_bridge.record(*parts[:2], twins=False, path=path):
        train(*parts, epochs=1)
        size, process = path.stat().st_size, os.getpid()
        monkeypatch.setattr("os.getpid", lambda: process + 1)
        train(*parts, epochs=1)
        assert path.stat().st_size == size
        assert Trace.load(path).n_steps == 2
        monkeypatch.undo()


def test_the_end_of_the_process_ends_the_file(tmp_path, monkeypatch):
    path, at_exit = tmp_path / "run.trace", []
    monkeypatch.setattr("atexit.register", at_exit.append)
    parts = make()
    recorder = torch_bridge.record(*parts[:2], twins=False, path=path)
    train(*parts, epochs=1)
    assert not Trace.load(path).complete
    (finish,) = at_exit
    finish()
    assert Trace.load(path).complete
    assert Trace.load(path).n_steps == recorder.n_steps == 3
