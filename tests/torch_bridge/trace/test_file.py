"""Files of several runs, written in bounded memory and read step by step."""

import re
import tracemalloc

import numpy as np
import pytest

from tests.support.small_files import builder, values, written
from torch_bridge.judge.compare import compare
from torch_bridge.trace.builder import TraceBuilder
from torch_bridge.trace.file import TraceFile
from torch_bridge.trace.keep import Keep
from torch_bridge.trace.log import WINDOW
from torch_bridge.trace.trace import Trace


def test_several_runs_in_one_file(tmp_path):
    path = written(tmp_path / "gan.trace", runs=("discriminator", "generator", "generator"))
    runs = Trace.load_all(path)
    assert list(runs) == ["discriminator", "generator", "generator 2"]
    for seed, (name, trace) in enumerate(runs.items()):
        assert trace.name == Trace.load(path, name).name == name
        alone = builder(seed=seed)
        for t in range(5):
            alone.append(values(t, seed))
        assert compare(alone.build(), trace).identical
    with pytest.raises(ValueError, match=r"holds 3 runs: name one with run= .--run., of 'discriminator', 'gen"):
        Trace.load(path)
    with pytest.raises(ValueError, match="holds no run 'critic': there are 'discriminator'"):
        Trace.load(path, "critic")
    runs["generator"].save(tmp_path / "one.trace")
    assert Trace.load(tmp_path / "one.trace").name == "generator"


def test_a_file_is_read_up_to_its_last_whole_frame(tmp_path):
    whole = written(tmp_path / "run.trace").read_bytes()
    n_steps, refused = [], []
    for size in range(len(whole) - 2500, len(whole), 37):
        for tail in (b"", bytes(4096)):  # a power cut may leave zeros
            (tmp_path / "cut.trace").write_bytes(whole[:size] + tail)
            try:
                trace = Trace.load(tmp_path / "cut.trace")
            except ValueError:
                refused.append(tail)
                continue
            assert not trace.complete
            assert trace.value("loss", trace.n_steps - 1) == values(trace.n_steps - 1)["loss"]
            n_steps.append(trace.n_steps)
    assert all(refused)  # zeros within a frame are damage
    assert n_steps == sorted(n_steps)
    assert set(n_steps) >= {3, 4, 5}


def test_a_column_reads_what_is_asked_for(tmp_path):
    trace = Trace.load(written(tmp_path / "run.trace"))
    column, rows = trace.steps["gradient/w"], np.stack([values(t)["gradient/w"] for t in range(5)])
    assert (column.shape, column.dtype, len(column), column.size) == (rows.shape, rows.dtype, 5, rows.size)
    assert column.nbytes == rows.nbytes
    lists = [0, 3], rows[:, 0, 0] > 0
    for index in (2, -1, slice(1, 4), slice(None, None, -2), (2, 1), (slice(1, 3), 0), (..., 1), *lists):
        assert np.array_equal(column[index], rows[index])
    assert np.array_equal(np.stack(list(column)), rows)
    assert np.array_equal(column * 2 - column, rows)
    assert (column == rows).all()
    assert column.reshape(5, -1).tolist() == rows.reshape(5, -1).tolist()
    assert np.abs(column).max() == abs(rows).max()
    with pytest.raises(IndexError):
        column[5]
    with pytest.raises(ValueError, match="read-only"):
        column[0][0] = 1


def test_columns_that_are_larger_than_the_file_are_not_stacked(tmp_path, monkeypatch):
    made = builder()
    for t in range(500):
        made.append(values(t) | {"data": np.arange(5000 if t == 0 else 1)})
    trace = made.build()
    monkeypatch.setattr("torch_bridge.trace.columns.LARGEST", 0)
    assert trace.value("data", 0).size == 5000
    with pytest.raises(ValueError, match="data over 500 steps is 20000000 bytes, more than the trace"):
        np.asarray(trace.steps["data"])


def test_what_a_trace_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="gradient/w has elements of type object; a trace holds bool, int8"):
        TraceBuilder({}).append({"gradient/w": np.array([{}])})


def peak(call):
    tracemalloc.start()
    call()
    _, found = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return found


@pytest.mark.parametrize("keep", [Keep(), Keep("digest", every=50), Keep("ring", last=2)], ids=str)
def test_memory_does_not_grow_with_the_run(tmp_path, keep):
    """Steps of 260 kB; 100 of them, and 400."""

    def write(name, n_steps, nudge):
        with TraceFile(tmp_path / name) as file:
            made = TraceBuilder({}, keep=keep, file=file)
            for t in range(n_steps):
                made.append({"gradient/w": array + np.float32(t % 7 + nudge), "loss": np.float64(t)})
            made.close()

    def read():
        comparison = compare(Trace.load(tmp_path / "a"), Trace.load(tmp_path / "b"))
        assert comparison.first.step == 0

    array = np.zeros(2**16, np.float32)
    peaks = []
    for n_steps in (100, 400):
        peaks.append([peak(lambda n=n_steps: write("a", n, 0)), peak(lambda n=n_steps: write("b", n, 1)), peak(read)])
    assert (tmp_path / "a").stat().st_size < {"full": 110e6, "digest": 150e6, "ring": 2e6}[keep.mode]
    for short, long in zip(*peaks, strict=True):
        assert long < short + 300 * 200 + 2 * WINDOW  # 200 bytes a step
        assert short < 8e6


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"mode": "half"}, "no mode 'half': a trace is kept in one of full, digest, ring"),
        ({"mode": "digest", "every": 0}, "every must be a positive number of steps or None, but got 0"),
        ({"mode": "ring"}, "the mode 'ring' needs last="),
        ({"mode": "ring", "last": -1}, "last must be a positive number"),
        ({"every": 3}, "every=3 belongs to the mode 'digest', but the mode is 'full'"),
        ({"gradients": False}, "gradients=False belongs to the mode 'digest'"),
    ],
)
def test_what_is_kept_is_checked(arguments, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        Keep(**arguments)
