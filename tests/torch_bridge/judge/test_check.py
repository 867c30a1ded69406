"""One diagnosis of all drives, on a small run."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcsgd
import torch_bridge
from tests.support.sampling import one_in
from tests.support.small_run import DATA, loss_fn, recorded
from torch_bridge.judge.sentence import sentence
from torch_bridge.render.json import write_json

pytestmark = pytest.mark.usefixtures("verdict_alone")

SGD = funcsgd.sgd(0.1, momentum=0.9, weight_decay=1e-2)


@pytest.fixture(scope="module")
def trace():
    return recorded()


def test_a_correct_port_is_the_same_function(trace, tmp_path):
    report = torch_bridge.check(trace, SGD, loss_fn=loss_fn, data=DATA)
    assert report.ok
    assert report.verdict == "same function"
    assert report.drives["update"].identical
    assert not report.drives["free"].identical
    assert report.loss_steps
    assert max(p.factor for p in report.precisions) < 16
    assert sentence(report) == str(report)
    assert "in float64 loss and gradients agree to" in str(report)
    write_json(report.to_dict(), tmp_path / "report.json")


def test_the_rule_alone_is_bitwise_and_notes_what_was_not_compared(trace):
    report = torch_bridge.check(trace, SGD)
    assert report.verdict == "bitwise"
    assert report.notes == ("Loss and gradient were not compared: there is no loss_fn=.",)


def late_fault(params, batch):
    """Wrong by a millionth for the batch that holds example 0 alone."""
    x, y, has_first = batch
    return loss_fn(params, (x, y)) * jnp.where(has_first, 1 + 1e-6, 1.0)


def marked(step, indices):
    return DATA[0][indices], DATA[1][indices], 0 in indices


@pytest.mark.thorough
def test_the_step_of_a_fault_is_named(trace):
    guilty = next(t for t in range(trace.n_steps) if 0 in trace.step(t)["data"])
    report = torch_bridge.check(trace, SGD, loss_fn=late_fault, data=marked)
    assert (report.verdict, report.difference.step, report.difference.phase) == ("different", guilty, "loss")
    assert f"first at step {guilty}" in str(report)


@pytest.mark.thorough
def test_without_twins_larger_faults_are_found_all_the_same(trace):
    bare = replace(trace, twins={})
    report = torch_bridge.check(bare, SGD, loss_fn=loss_fn, data=DATA)
    assert report.verdict == "same function", report
    assert "no float64 twins" in report.notes[0]
    wrong = torch_bridge.check(bare, SGD, loss_fn=lambda p, b: loss_fn(p, b) * 1.001, data=DATA)
    assert (wrong.verdict, wrong.difference.phase) == ("different", "loss")

    def half(params, batch):
        return loss_fn(jax.tree.map(lambda p: p.astype(jnp.float16).astype(p.dtype), params), batch)

    narrow = torch_bridge.check(bare, SGD, loss_fn=half, data=DATA)
    assert narrow.verdict == "imprecise"


@pytest.mark.thorough
def test_an_imprecise_port_can_be_allowed(trace):
    def half(params, batch):
        return loss_fn(jax.tree.map(lambda p: p.astype(jnp.bfloat16).astype(p.dtype), params), batch)

    report = torch_bridge.check(trace, SGD, loss_fn=half, data=DATA)
    assert (report.verdict, report.ok) == ("imprecise", False)
    assert "test_check.py" in report.line
    assert torch_bridge.check(trace, SGD, loss_fn=half, data=DATA, allow_imprecise=True).ok


def test_batches_in_another_order_are_a_difference_of_data(trace):
    order = [trace.step(t)["data"] for t in range(trace.n_steps)]
    order = [rows[rows >= 0] for rows in order]
    assert torch_bridge.check(trace, SGD, loss_fn=loss_fn, data=DATA, order=order).ok
    order[2] = order[2][::-1]
    report = torch_bridge.check(trace, SGD, loss_fn=loss_fn, data=DATA, order=order)
    assert (report.verdict, report.difference.step, report.difference.phase) == ("different", 2, "data")


@pytest.mark.thorough
@pytest.mark.parametrize("factor", [1.0, 1.0 + 1e-6])
def test_a_step_function_without_its_parameters_is_evaluated_at_the_first_step(trace, factor):
    start = {name: jnp.asarray(trace.initial[f"parameter/{name}"]) for name in trace.static["shapes"]}

    def step(params, batch):
        loss, gradient = jax.value_and_grad(lambda p: loss_fn(p, batch) * factor)(params)
        return params, {"loss": loss, "gradient": gradient}  # it trains nothing, and reports no parameters

    report = torch_bridge.check(trace, step=step, state=start, data=DATA)
    assert report.verdict == ("same function" if factor == 1 else "different"), report
    assert report.loss_steps == (0,)


def step_function(*, factor=1.0, momentum=0.9, decay=1e-2, rate=0.1, late=False, jitted=False, hide=False):
    """The run as one function with a state of its own: a counter, parameters and buffers."""

    def step(state, batch):
        count, params, buffers = state
        loss, gradient = jax.value_and_grad(lambda p: loss_fn(p, batch) * factor)(params)
        m = jnp.where(count >= 2, momentum * (1 + 1e-6), momentum) if late else momentum
        buffers = jax.tree.map(lambda b, g, p: m * b + (g + decay * p), buffers, gradient, params)
        params = jax.tree.map(lambda p, b: p - rate * b, params, buffers)
        observed = {"loss": loss, "gradient": gradient, "parameter": params}
        return (count + 1, params, buffers), observed if hide else {**observed, "momentum_buffer": buffers}

    return jax.jit(step) if jitted else step


def stepped(trace, **options):
    start = {name: jnp.asarray(trace.initial[f"parameter/{name}"]) for name in trace.static["shapes"]}
    state = (jnp.array(0), start, jax.tree.map(jnp.zeros_like, start))
    return torch_bridge.check(trace, step=step_function(**options), state=state, data=DATA)


@pytest.mark.parametrize("jitted", one_in(2, [True, False]))
def test_a_step_function_is_evaluated_at_every_step_with_a_twin(trace, jitted):
    report = stepped(trace, jitted=jitted)
    assert report.verdict == "same function", report
    assert report.loss_steps == report.rule_steps == tuple(sorted(trace.twins))
    assert len(report.loss_steps) > 1
    assert [note for note in report.notes if not note.startswith("Layers")] == []


@pytest.mark.parametrize(
    ("fault", "step", "phase"),
    [
        pytest.param({"factor": 1 + 1e-6}, 0, "loss", marks=pytest.mark.thorough),
        ({"decay": 1.00001e-2}, 0, "weight_decay"),
        pytest.param({"rate": 0.1000001}, 0, "learning_rate", marks=pytest.mark.exhaustive),
        pytest.param({"momentum": 0.9000009}, 1, "momentum_buffer", marks=pytest.mark.exhaustive),
        pytest.param({"late": True}, 2, "momentum_buffer", marks=pytest.mark.thorough),
    ],
)
def test_small_faults_of_a_step_function_are_found(trace, fault, step, phase):
    report = stepped(trace, **fault)
    assert (report.verdict, report.difference.step, report.difference.phase) == ("different", step, phase), report


@pytest.mark.thorough
def test_for_a_step_function_that_hides_its_buffers_the_report_notes_what_was_not_evaluated(trace):
    report = stepped(trace, hide=True)
    assert (report.verdict, report.rule_steps) == ("same function", (0,))
    assert "reports no momentum" in report.notes[0]
    assert report.loss_steps == tuple(sorted(trace.twins))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shadows": 1}, "shadows must be 0, or at least 2"),
        ({"tx": None}, "give tx="),
        ({"loss_fn": loss_fn}, "need data="),
    ],
)
def test_what_is_missing_is_named(trace, options, message):
    with pytest.raises(ValueError, match=message):
        torch_bridge.check(trace, **{"tx": SGD} | options)


@pytest.mark.thorough
def test_what_is_not_finite_is_not_passed(trace):
    report = torch_bridge.check(trace, SGD, loss_fn=lambda p, b: loss_fn(p, b) + jnp.nan, data=DATA)
    assert report.verdict == "different"
    assert np.isnan(report.difference.jax)
