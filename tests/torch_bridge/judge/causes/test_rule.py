"""The rule in pieces is torch's: against the library's own in float64, and against what torch recorded."""

import numpy as np
import optax
import pytest

import torch_bridge
from tests.support.planted.numbers import decay, rule
from tests.support.planted.stages import rate
from tests.support.sampling import one_in
from tests.torch_bridge.judge.causes.runs import NUMBERS, recorded
from torch_bridge.judge.causes.newton import fitted, fitted_together
from torch_bridge.judge.causes.rule import TORCHS
from torch_bridge.judge.causes.rule_cases import RuleCase, tree_of
from torch_bridge.judge.rules import reference_of
from torch_bridge.render.json import plain
from torch_bridge.trace.trace import in_phase


@pytest.mark.parametrize("name", one_in(4, NUMBERS))
def test_without_a_fault_it_is_torchs(name):
    trace = recorded(name)
    for t in (0, 4):
        recorded_step, reference = trace.step(t), reference_of(trace, t, trace.before(t))
        case = RuleCase(t, tree_of(trace, t, in_phase(recorded_step, "gradient"), reference), {}, reference)
        made = case.made(TORCHS)
        assert set(made) == set(in_phase(recorded_step, "parameter"))
        for leaf, quantities in made.items():
            for phase, value in quantities.items():
                if phase != "parameter":
                    np.testing.assert_allclose(value, recorded_step[f"{phase}/{leaf}"], rtol=1e-5, atol=1e-7)
                if leaf in reference.ideals.get(phase, {}):
                    np.testing.assert_allclose(value, reference.ideals[phase][leaf].value, rtol=1e-9, atol=1e-14)


def test_a_constant_is_fitted():
    x = np.linspace(0.1, 2, 30)
    assert fitted(lambda c: x**c - x**2.5, [1.0]) == pytest.approx(2.5, rel=1e-9)
    assert fitted(lambda c: x, [1.0]) == 1.0  # it moves nothing


def test_two_constants_are_fitted_at_once():
    x = np.linspace(0.1, 2, 30)
    found = fitted_together(lambda c: c[0] * x ** c[1] - 0.7 * x**2.5, [1.0, 2.0])
    assert found == pytest.approx([0.7, 2.5], rel=1e-9)
    assert fitted_together(lambda c: x, [1.0, 2.0]) == [1.0, 2.0]


N = NUMBERS["heavy ball"]
UNLIKE_TORCHS = optax.clip_by_global_norm(N.max_norm)
SEVERAL = {
    ("decay-missing", "clip-without-epsilon"): lambda: rule(N, clip=UNLIKE_TORCHS, decay=None),
    ("nesterov-extra", "decay-value"): lambda: rule(
        N, decay=decay(N, 0.03), inner=optax.trace(N.momentum, nesterov=True)
    ),
    ("rate-value", "decay-missing", "clip-without-epsilon"): lambda: rule(
        N, clip=UNLIKE_TORCHS, decay=None, rate=rate(1.2 * N.lr)
    ),
}


@pytest.mark.parametrize("names", one_in(3, SEVERAL), ids="+".join)
def test_several_at_once(names):
    report = torch_bridge.check(recorded("heavy ball"), SEVERAL[names]())
    assert {cause.name for cause in report.causes} == set(names), report
    assert str(report).count("; and ") == len(names) - 1
    assert [cause["name"] for cause in plain(report.to_dict())["causes"]] == [cause.name for cause in report.causes]
