"""A rule that is torch's, in a narrower type: imprecise, with the type as its cause; correct rules are precise."""

import jax
import jax.numpy as jnp
import optax
import pytest
import torch

import torch_bridge
from tests.torch_bridge.judge.test_own_states import adam, own_adam, run_of, sgd
from torch_bridge.judge.reproduction import show


def cast(dtype):
    """Updates, or gradients, rounded to a type."""

    def rounded(updates, params):
        return jax.tree.map(lambda x: x.astype(dtype).astype(x.dtype), updates)

    return optax.stateless(rounded)


MOMENTUM = optax.sgd(0.05, momentum=0.9)
NARROW = {
    "momentum in bfloat16": (
        sgd, optax.sgd(0.05, momentum=0.9, accumulator_dtype=jnp.bfloat16), "momentum_buffer",
        "state-in-a-narrow-type"),
    "gradients in float16": (sgd, optax.chain(cast(jnp.float16), MOMENTUM), "momentum_buffer", "float16-inside"),
    "updates in float16": (sgd, optax.chain(MOMENTUM, cast(jnp.float16)), "parameter", "float16-inside"),
    "updates in bfloat16": (sgd, optax.chain(MOMENTUM, cast(jnp.bfloat16)), "parameter", "bfloat16-inside"),
    "an average in bfloat16": (adam, optax.adam(0.01, mu_dtype=jnp.bfloat16), "exp_avg", "state-in-a-narrow-type"),
}  # fmt: skip
QUICK = ("momentum in bfloat16",)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.thorough) for n in NARROW])
def test_a_narrow_rule_is_imprecise_and_its_type_is_the_cause(name):
    make, tx, phase, cause = NARROW[name]
    report = torch_bridge.check(run_of(make, 8), tx)
    assert (report.verdict, report.imprecision.phase) == ("imprecise", phase), report
    assert [each.name for each in report.causes] == [cause]
    assert report.causes[0].before > 1e-4
    assert 0 < report.causes[0].after <= 1
    assert not report.ok


def test_it_can_be_shown_by_itself(tmp_path, capsys):
    tx = NARROW["momentum in bfloat16"][1]
    report = torch_bridge.check(run_of(sgd, 3), tx, explain=False)
    _, arrays = report.reproduce(tmp_path / "reproduce.py")
    assert show(arrays, tx=tx) == 1
    assert "relative rounding error of momentum buffer of 0.bias at step 0" in capsys.readouterr().out
    assert show(arrays, tx=MOMENTUM) == 0


@pytest.mark.thorough
@pytest.mark.parametrize("tx", [optax.adam(0.01), own_adam(0.01), own_adam(0.01, correction=jnp.float32(0.999))])
def test_digits_that_float32_loses_in_a_bias_correction_are_no_imprecision(tx):
    report = torch_bridge.check(run_of(adam, 20), tx)
    assert (report.verdict, report.precisions, report.causes) == ("same function", (), ()), report


@pytest.mark.thorough
def test_a_run_in_bfloat16_may_have_its_state_in_bfloat16():
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 5).bfloat16()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    with torch_bridge.record(model, optimizer, twins=False) as recorder:
        for _ in range(6):
            optimizer.zero_grad()
            (model(torch.randn(7, 6).bfloat16()) ** 2).mean().backward()
            optimizer.step()
    assert torch_bridge.check(recorder.trace(), MOMENTUM).ok
