"""Causes in the rule of a step function, whatever it reports: torch's rule is tried on the port's own gradients."""

import jax
import jax.numpy as jnp
import pytest

import torch_bridge
from tests.support.sampling import one_in
from tests.support.small_run import DATA, loss_fn, recorded

LR, MOMENTUM, DECAY = 0.1, 0.9, 0.01
ALL = ("loss", "gradient", "momentum_buffer", "parameter")


def step_of(fault="", reports=ALL, loss=loss_fn):
    """torch's step by hand, with a fault in its rule."""
    decay = 2 * DECAY if fault == "decay-doubled" else 0.007 if fault == "decay-value" else DECAY

    def leaf(p, b, g):
        if fault == "decay-decoupled":
            b = MOMENTUM * b + g
            return p - LR * (b + decay * p), b
        d = g + decay * p
        b = MOMENTUM * b + (1 - MOMENTUM if fault == "momentum-averaged" else 1) * d
        along = d + MOMENTUM * b if fault == "nesterov-extra" else b
        return p - LR * along, b

    def step(state, batch):
        params, buffers = state
        value, gradient = jax.value_and_grad(loss)(params, batch)
        both = {name: leaf(params[name], buffers[name], gradient[name]) for name in params}
        params, buffers = ({name: pair[i] for name, pair in both.items()} for i in (0, 1))
        seen = {"loss": value, "gradient": gradient, "momentum_buffer": buffers, "parameter": params}
        return (params, buffers), {key: seen[key] for key in reports}

    return step


@pytest.fixture(scope="module")
def trace():
    return recorded()


def checked(trace, step):
    params = {name: jnp.asarray(trace.initial[f"parameter/{name}"]) for name in trace.static["shapes"]}
    return torch_bridge.check(trace, step=step, state=(params, jax.tree.map(jnp.zeros_like, params)), data=DATA)


FAULTS = ("nesterov-extra", "decay-value", "decay-decoupled", "momentum-averaged")


@pytest.mark.parametrize("name", one_in(0, FAULTS, thorough=2))
def test_a_fault_of_the_rule_is_named(trace, name):
    report = checked(trace, step_of(name))
    assert report.verdict == "different"
    assert [cause.name for cause in report.causes] == [name], report
    assert 0 < report.causes[0].after <= 1
    assert len(report.causes[0].steps) >= 4


@pytest.mark.thorough
@pytest.mark.parametrize("reports", [ALL[:2] + ALL[3:], ("parameter",)])
def test_it_is_named_by_what_is_reported(trace, reports):
    """Where its gradients are not reported, torch's twin has them."""
    assert checked(trace, step_of(reports=reports)).ok
    report = checked(trace, step_of("decay-doubled", reports))
    assert report.verdict == "different"
    assert [cause.name for cause in report.causes] == ["decay-doubled"], report


@pytest.mark.thorough
def test_a_fault_of_the_rule_is_named_beside_one_of_the_loss(trace):
    report = checked(trace, step_of("decay-doubled", loss=lambda params, batch: 2 * loss_fn(params, batch)))
    assert (report.verdict, report.difference.phase) == ("different", "loss")
    assert {cause.name for cause in report.causes} >= {"decay-doubled"}, report


@pytest.mark.thorough
def test_what_cannot_be_compared_is_said(trace):
    report = checked(trace, step_of("momentum-averaged", ("loss", "parameter")))
    assert "The rule of the step function was compared at its first step alone: it reports no gradient." in report.notes
