import ml_dtypes
import numpy as np
import pytest

from torch_bridge.trace.builder import TraceBuilder
from torch_bridge.trace.frames import MAGIC, pack
from torch_bridge.trace.keep import Keep
from torch_bridge.trace.trace import Trace

DIGESTS = Keep("digest", every=2, gradients=False)


def built(keep=None):
    builder = TraceBuilder({"shapes": {"w": [3]}, "state": ["momentum_buffer"], "note": "x"}, keep=keep)
    builder.initial = {"parameter/w": np.zeros(3, np.float32)}
    for t in range(5):
        step = {
            "data": np.arange(3 if t < 4 else 2),
            "loss": np.float32(t),
            "gradient/w": np.full(3, t, np.float32),
            "parameter/w": np.full(3, t, ml_dtypes.bfloat16),
        }
        if t in (1, 4):
            step["momentum_buffer/w"] = np.full(3, -t, np.float64)
        builder.append(step)
    return builder.build({"pixels": np.arange(4, dtype=np.uint8)})


@pytest.mark.parametrize("keep", [None, DIGESTS, Keep("ring", last=2)])
def test_load_gives_back_what_save_wrote(tmp_path, keep):
    trace = built(keep)
    trace.save(tmp_path / "a.trace")
    again = Trace.load(tmp_path / "a.trace")
    assert again.static == trace.static
    assert again.keys == trace.keys
    for room in ("initial", "steps", "kept", "digests", "norms", "present", "extra"):
        before, after = getattr(trace, room), getattr(again, room)
        assert list(before) == list(after) or set(before) == set(after)
        for key in before:
            assert before[key].dtype == after[key].dtype
            assert np.asarray(before[key]).tobytes() == after[key].tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["a.trace"]


def test_it_prints_in_a_line():
    assert str(built()) == "<Trace: 5 steps of data, loss, gradient, momentum_buffer, parameter>"


def test_twins_travel_with_the_trace(tmp_path):
    builder = TraceBuilder({"twins": {"steps": [0, 2], "layers": ["0"], "reasons": {"1": "a sentence"}}})
    narrow = np.full((2, 3), 0.5, ml_dtypes.bfloat16)
    twins = {
        0: {"loss": np.float64(1 / 3), "gradient/w": np.full(3, 0.1), "gradient/a.b/c": np.zeros((0, 2))},
        2: {"forward/0": np.full((2, 3), 0.5), "narrow/forward/0": narrow},
    }
    for t in range(3):
        builder.append({"loss": np.float32(1)}, twins.get(t))
    trace = builder.build()
    trace.save(tmp_path / "twins.trace")
    again = Trace.load(tmp_path / "twins.trace")
    assert again.static == trace.static
    for step, twin in twins.items():
        assert set(again.twins[step]) == set(twin)
        for key, value in twin.items():
            assert again.twins[step][key].dtype == np.asarray(value).dtype
            assert again.twins[step][key].shape == np.shape(value)
            assert again.twins[step][key].tobytes() == np.asarray(value).tobytes()
    assert list(again.twins) == [0, 2]


def test_a_short_batch_is_padded_and_a_missing_value_is_none():
    trace = built()
    assert trace.steps["data"][4].tolist() == [0, 1, -1]
    assert trace.value("momentum_buffer/w", 0) is None
    assert not trace.has("momentum_buffer/w", 0)
    assert trace.value("momentum_buffer/w", 4).tolist() == [-4, -4, -4]


def test_before_is_the_latest_state_that_existed():
    trace = built()
    assert trace.before(0) == trace.initial
    assert trace.before(3)["momentum_buffer/w"].tolist() == [-1, -1, -1]
    assert trace.before(3)["parameter/w"].astype(float).tolist() == [2, 2, 2]


def test_digests_stand_for_the_values_they_replace():
    full, digested = built(), built(DIGESTS)
    for t in range(5):
        assert full.same_bits(digested, "parameter/w", t)
    assert digested.value("parameter/w", 0) is None
    assert digested.value("parameter/w", 3) is not None
    assert digested.norms["parameter/w"][2].tolist() == [12**0.5, 2.0, 2.0]
    with pytest.raises(ValueError, match="restore"):
        digested.before(1)


def test_what_is_no_trace_is_refused(tmp_path):
    path = tmp_path / "b.trace"
    built().save(path)
    whole = path.read_bytes()
    place = whole.index(b'"parameter/w"')
    for damaged in (b"", b"nonsense nonsense", b"\0" + whole[1:], whole[:place] + b"?" + whole[place + 1 :]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"b\.trace is not a trace written by torch_bridge, or is damaged"):
            Trace.load(path)
    path.write_bytes(whole[:40])
    with pytest.raises(ValueError, match="holds no whole step"):
        Trace.load(path)
    (head,) = pack({"kind": "trace", "format": 9})
    path.write_bytes(MAGIC + head)
    with pytest.raises(ValueError, match=r"b\.trace has trace format 9, this torch_bridge reads up to 2: upgrade it"):
        Trace.load(path)
    with pytest.raises(FileNotFoundError):
        Trace.load(tmp_path / "absent")


def test_the_same_trace_gives_the_same_bytes(tmp_path):
    for keep in (None, DIGESTS, Keep("ring", last=2)):
        built(keep).save(tmp_path / "a.trace")
        built(keep).save(tmp_path / "b.trace")
        Trace.load(tmp_path / "a.trace").save(tmp_path / "c.trace")
        contents = {(tmp_path / name).read_bytes() for name in ("a.trace", "b.trace", "c.trace")}
        assert len(contents) == 1


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "c.trace"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        built().save(path)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
