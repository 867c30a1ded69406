"""Every entry on update rules is named where it is planted, in a port that was written without the catalogue."""

import pytest

import torch_bridge
from tests.support.planted.rules import RULES
from tests.support.sampling import one_in
from tests.torch_bridge.judge.causes.runs import NUMBERS, recorded

OTHER_RUNS = {"clip-always": "plain", "schedule-early": "warm-up", "schedule-epoch-early": "linear"}
"""Where the first recipe that can have a fault is not one that shows it."""


def run_of(name):
    return OTHER_RUNS.get(name) or next(run for run, n in NUMBERS.items() if RULES[name].when(n))


QUICK = ("clip-without-epsilon",)


@pytest.mark.parametrize("name", [*QUICK, *one_in(0, [n for n in RULES if n not in QUICK], thorough=6)])
def test_it_is_named(name):
    run = run_of(name)
    report = torch_bridge.check(recorded(run), RULES[name].port(NUMBERS[run]))
    assert [cause.name for cause in report.causes] == [name], (report.tried, str(report))
    assert report.causes[0].after <= 1
    assert report.causes[0].before > 0
    assert not report.tried
