"""The benchmark of faults counts what is found, and what is not."""

import dataclasses

import pytest

import torch_bridge
from benchmarks.faults.port import Place
from benchmarks.faults.ports import ports
from benchmarks.faults.recipes import perceptron
from benchmarks.faults.row import judged, measured
from benchmarks.faults.scenarios import SCENARIOS
from benchmarks.faults.singles import of_rule
from benchmarks.faults.table import lines, shortfalls
from tests.support.planted.rules import RULES


@pytest.fixture(scope="module")
def checked():
    port = of_rule(perceptron.RECIPE, "decay-on-vectors-only", RULES["decay-on-vectors-only"])
    trace = port.trace()
    return port, torch_bridge.check(trace, **port.arguments()), trace


@pytest.mark.thorough
def test_a_wrong_expectation_is_a_miss(checked):
    port, report, trace = checked
    (place,) = port.places
    right = judged(port, report, trace)
    assert not right.missed, right.found
    assert list(shortfalls([right])) == []
    wrong = {
        "named": {"causes": ("decay-missing",)},
        "located": {"places": (dataclasses.replace(place, step=1),)},
    }
    for column, changed in wrong.items():
        row = judged(dataclasses.replace(port, **changed), report, trace)
        assert row.missed
        assert not getattr(row, column)
        assert any(line.startswith(f"{column}: 0.0 %") for line in shortfalls([row]))
    elsewhere = Place(0, {phase: names | {"0.bias"} for phase, names in place.names.items()})
    assert not judged(dataclasses.replace(port, places=(elsewhere,)), report, trace).located
    assert not judged(dataclasses.replace(port, causes=()), report, trace).named  # of one outside the catalogue


@pytest.mark.thorough
def test_what_is_accused_or_not_seen_is_counted(checked):
    port, report, trace = checked
    clean = dataclasses.replace(port, faults=(), causes=(), places=())
    assert list(shortfalls([judged(clean, report, trace)])) == ["false alarms: 1"]
    unseen = judged(port, dataclasses.replace(report, verdict="same function"), trace)
    assert not unseen.detected
    assert "detected: 0.0 %, promised are 100 %" in shortfalls([unseen])
    assert "scripts that show nothing: 1" in shortfalls([judged(port, report, trace, reproduced=False)])
    assert "| one fault | 1 | 100.0 % | 100.0 % | 100.0 % | 100.0 % |" in "\n".join(
        lines([judged(port, report, trace)])
    )


def test_every_report_is_cited_once():
    addresses = {scenario.address for scenario in SCENARIOS}
    assert len(addresses) == len(SCENARIOS) >= 20
    assert all(address.startswith("https://github.com/") for address in addresses)
    assert all(scenario.title for scenario in SCENARIOS)


@pytest.mark.thorough
def test_a_sample_is_found_named_and_shown():
    rows = [measured(port, reproduce=True) for port in [*ports("perceptron", every=40), *ports("scenarios", every=12)]]
    assert {row.port.kind for row in rows} >= {"one fault", "two faults", "public reports", "clean ports"}
    assert [f"{row.port.title}: {row.found}" for row in rows if row.missed] == []
