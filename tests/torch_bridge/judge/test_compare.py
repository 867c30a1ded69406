import json

import numpy as np
import pytest

import torch_bridge
from tests.support.small_run import recorded
from torch_bridge.trace.builder import TraceBuilder
from torch_bridge.trace.keep import Keep


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
    comparison = torch_bridge.compare(trace([1, 2, 3]), trace([1, 2, 3]))
    assert (comparison.identical, comparison.first, comparison.n_steps) == (True, None, 3)
    assert [(row.phase, row.values, row.differing) for row in comparison.rows] == [("loss", 3, 0), ("parameter", 6, 0)]
    assert str(comparison) == "free: identical in every bit, 3 steps, 9 values."


def test_the_first_difference_and_the_worst_are_named_and_nothing_is_judged():
    comparison = torch_bridge.compare(trace([1, 2, 3]), trace([1, 2.0000002, 4]))
    assert not comparison.identical
    assert (comparison.first.step, comparison.first.phase, comparison.first.index) == (1, "parameter", (1,))
    (loss, parameter) = comparison.rows
    assert (loss.differing, loss.worst, loss.spread) == (0, None, None)
    assert (parameter.differing, parameter.worst.step, parameter.spread) == (2, 2, None)
    assert str(comparison) == (
        "free: 22% of the values differ, 3 steps, first at step 1 in parameter of w[1]: torch 2, JAX "
        "2.00000024, 1 ulps apart."
    )


def test_the_spread_of_shadows_is_shown_beside():
    comparison = torch_bridge.compare(trace([1, 2, 3]), trace([1, 2, 3.0005]), envelope=ENVELOPE)
    (loss, parameter) = comparison.rows
    assert parameter.spread == pytest.approx(0.5, rel=1e-3)
    assert loss.spread is None  # nothing differs


def test_nan_on_one_side_is_a_difference():
    comparison = torch_bridge.compare(trace([1, 2, 3]), trace([1, np.nan, 3]))
    assert comparison.first.step == 1


def test_is_plain_data():
    comparison = torch_bridge.compare(trace([1, 2, 3]), trace([1.0001, 2.01, 4]), envelope=ENVELOPE)
    data = json.loads(json.dumps(comparison.to_dict()))
    assert (data["first"]["name"], data["identical"]) == ("w", False)
    assert [row["phase"] for row in data["rows"]] == ["loss", "parameter"]


def test_two_recorded_runs_can_be_compared():
    comparison = torch_bridge.compare(recorded(), recorded(keep=Keep("digest", every=3)))
    assert comparison.identical
    assert str(comparison).startswith("identical in every bit, 6 steps")
