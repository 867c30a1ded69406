import json

import numpy as np
import pytest

import torch_bridge
from tests.torch_bridge.small_run import recorded
from torch_bridge.parity.builder import TraceBuilder


def trace(values, drive="free"):
    builder = TraceBuilder({"drive": drive})
    for value in values:
        builder.append({"loss": np.float32(1), "parameter/w": np.float32([1, value])})
    return builder.build()


ENVELOPE = torch_bridge.Envelope(
    {"parameter/w": np.full((3, 4), 1e-3), "loss": np.full((3, 4), 1e-3)},
    {"parameter/w": np.zeros(3), "loss": np.zeros(3)},
)


def test_identical():
    report = torch_bridge.compare(trace([1, 2, 3]), trace([1, 2, 3]))
    assert (report.verdict, report.ok, report.first, report.divergence) == ("bitwise", True, None, None)
    assert str(report) == "free: identical in every bit, 3 steps, 9 values."


def test_rounding_says_how_much_of_the_envelope_was_used():
    report = torch_bridge.compare(trace([1, 2, 3]), trace([1, 2, 3.0005]), envelope=ENVELOPE)
    assert (report.verdict, report.ok, report.first.step) == ("rounding", True, 2)
    assert report.share == pytest.approx(0.5, rel=1e-3)
    assert "at most by 0.50 of the rounding envelope (step 2, parameter of w)" in report.sentence


def test_divergence_is_the_first_step_outside_not_the_first_difference():
    report = torch_bridge.compare(trace([1, 2, 3]), trace([1.0001, 2.01, 4]), envelope=ENVELOPE)
    assert (report.verdict, report.ok) == ("diverged", False)
    assert (report.first.step, report.divergence.step) == (0, 1)
    assert report.sentence == (
        "free: different, first at step 1 of 3 (from 0), in parameter of w[1]: 2 became 2.00999999, "
        "41,943 ulps apart, 10 times the rounding envelope; cause: unknown."
    )


def test_a_difference_without_an_envelope_is_not_judged():
    with pytest.raises(ValueError, match="no envelope says how far"):
        torch_bridge.compare(trace([1]), trace([2]))


def test_what_the_envelope_does_not_know_may_not_differ():
    envelope = torch_bridge.Envelope({"loss": np.full((3, 4), 1e-3)}, {"loss": np.zeros(3)})
    report = torch_bridge.compare(trace([1, 2, 3]), trace([1, 2, 3.0000002]), envelope=envelope)
    assert report.verdict == "diverged"
    assert "where rounding changes nothing" in report.sentence


def test_nan_on_one_side_is_outside_every_envelope():
    report = torch_bridge.compare(trace([1, 2, 3]), trace([1, np.nan, 3]), envelope=ENVELOPE)
    assert report.divergence.step == 1


def test_is_plain_data():
    report = torch_bridge.compare(trace([1, 2, 3]), trace([1.0001, 2.01, 4]), envelope=ENVELOPE)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["divergence"]["name"] == "w"
    assert [row["phase"] for row in data["rows"]] == ["loss", "parameter"]


def test_two_recorded_runs_can_be_compared():
    report = torch_bridge.compare(recorded(), recorded(digest_every=3))
    assert report.verdict == "bitwise"
    assert str(report).startswith("identical in every bit, 6 steps")
