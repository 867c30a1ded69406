"""Adam and AdamW through every door: recorded, replayed, restored, judged, explained."""

import jax
import numpy as np
import optax
import pytest
import torch
from typer.testing import CliRunner

import funcsgd
import torch_bridge
from tests.support.sampling import one_in
from torch_bridge.cli import app
from torch_bridge.trace.keep import Keep

KINDS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
RULES = {"adam": funcsgd.adam, "adamw": funcsgd.adamw}
every_kind = pytest.mark.parametrize("kind", KINDS)
OPTIONS = {"lr": 0.01, "weight_decay": 1e-2}


def run_of(kind, steps=6, *, keep=None, scheduled=False, **options):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5))
    optimizer = KINDS[kind](model.parameters(), **OPTIONS | options)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, 20) if scheduled else None
    with torch_bridge.record(model, optimizer, scheduler=scheduler, keep=keep, twins=False) as recorder:
        for _ in range(steps):
            optimizer.zero_grad()
            (model(torch.randn(7, 6)) ** 2).mean().backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
    return recorder.trace()


def nearest(kind, **options):
    """What a port writes in plain optax."""
    options = {"learning_rate": 0.01, "weight_decay": 1e-2} | options
    if kind == "adamw":
        return optax.adamw(**options)
    return optax.chain(optax.add_decayed_weights(options.pop("weight_decay")), optax.adam(**options))


@every_kind
def test_every_quantity_is_recorded_and_replayed(kind):
    trace = run_of(kind, amsgrad=True)
    decayed = {"adam": "weight_decay", "adamw": "decayed_parameter"}[kind]
    phases = {key.partition("/")[0] for key in trace.keys}
    assert phases >= {decayed, "step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "beta1", "beta2", "eps", "parameter"}
    tx = RULES[kind](0.01, weight_decay=1e-2, amsgrad=True, sqrt=torch_bridge.torch_root())
    for drive in ("update", "resync"):
        options = {} if drive == "update" else {"loss_fn": loss_fn, "data": batches}
        comparison = torch_bridge.compare(trace, torch_bridge.replay(trace, tx, drive=drive, **options))
        assert comparison.identical or drive == "resync"
        assert {row.phase for row in comparison.rows} >= {decayed, "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"}


def loss_fn(params, batch):
    hidden = jax.numpy.tanh(batch @ params["0.weight"].T + params["0.bias"])
    return ((hidden @ params["2.weight"].T + params["2.bias"]) ** 2).mean()


def batches(step, indices):
    del indices
    generator = torch.Generator().manual_seed(step)
    return torch.randn(7, 6, generator=generator).numpy()


@pytest.mark.parametrize("kind", one_in(2, KINDS))
def test_what_was_digested_comes_back(kind):
    full, digested = (run_of(kind, keep=keep, scheduled=True) for keep in (None, Keep("digest", every=100)))
    assert len(set(full.steps["beta1/0"].tolist())) > 3  # OneCycleLR cycles it
    assert torch_bridge.compare(full, torch_bridge.restore(digested)).identical


@every_kind
def test_the_trace_names_torchs_square_root(kind):
    root = run_of(kind, steps=1).static["recipe"]["root"]
    assert root["name"] == torch_bridge.torch_root().name
    assert bool(root["digest"]) == (root["name"] != "correct")


@pytest.mark.parametrize("kind", one_in(2, KINDS))
@pytest.mark.parametrize("betas", one_in(2, [{}, {"b1": 0.8, "b2": 0.95}]), ids=["default", "others"])
def test_plain_optax_is_the_same_function(kind, betas):
    options = {"betas": tuple(betas.values())} if betas else {}
    report = torch_bridge.check(run_of(kind, **options), nearest(kind, **betas))
    assert report.verdict == "same function", report


@pytest.mark.thorough
def test_numbers_in_the_state_of_plain_optax_are_the_same_function():
    """There 1 - beta2**t is computed from a beta2 held in float32, a relative change of 1e-5 that bends."""
    tx = optax.chain(optax.add_decayed_weights(1e-2), optax.inject_hyperparams(optax.adam)(0.01))
    report = torch_bridge.check(run_of("adam"), tx)
    assert report.verdict == "same function", report


WRONG = {
    "lr": ({"learning_rate": 0.010001}, 1e-4),
    "betas[0]": ({"b1": 0.90009}, 1e-4),
    "betas[1]": ({"b2": 0.99}, -9.009e-3),
    "eps": ({"eps": 1e-7}, 9.0),
    "weight_decay": ({"weight_decay": 1.001e-2}, 1e-3),
}


@pytest.mark.thorough
@pytest.mark.parametrize("label", WRONG)
def test_a_wrong_number_is_named(label):
    options, change = WRONG[label]
    report = torch_bridge.check(run_of("adam", steps=3), nearest("adam", **options))
    assert (report.verdict, report.difference.step) == ("different", 0)
    assert report.difference.constants == {label: pytest.approx(change, rel=0.01)}


@pytest.mark.thorough
def test_the_other_weight_decay_is_found():
    for kind, other in (("adam", "adamw"), ("adamw", "adam")):
        report = torch_bridge.check(run_of(kind, steps=2), nearest(other))
        assert (report.verdict, report.difference.step) == ("different", 0)


@pytest.mark.parametrize("kind", one_in(2, KINDS))
def test_the_explanation_runs_and_names_what_differs(kind):
    trace = run_of(kind, scheduled=True)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5))
    optimizer = KINDS[kind](model.parameters(), **OPTIONS)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, 20)
    explanation = torch_bridge.explain(optimizer, scheduler, named_parameters=model.named_parameters(), epochs=20)
    assert f"the betas of optax.{kind} are constants: the cycling of beta1 is lost" in explanation.differences
    assert f"optax.{kind}(" in explanation.optax
    namespace = dict(explanation.functions)
    exec(explanation.funcsgd, namespace)
    assert torch_bridge.compare(trace, torch_bridge.replay(trace, namespace["tx"], drive="update")).identical
    namespace = dict(explanation.functions)
    exec(explanation.optax, namespace)
    replayed = torch_bridge.replay(trace, namespace["tx"], drive="update")
    np.testing.assert_allclose(
        replayed.value("parameter/0.bias", 0), trace.value("parameter/0.bias", 0), rtol=1e-3, atol=1e-6
    )


def test_the_command_line_explains_it(tmp_path):
    run_of("adamw", scheduled=True).save(tmp_path / "run.trace")
    shown = CliRunner().invoke(app, ["explain", str(tmp_path / "run.trace")])
    assert shown.exit_code == 0, shown.output
    assert "funcsgd.adamw(learning_rate" in shown.output
    assert "optax.adamw(" in shown.output


def test_a_tensor_of_a_narrower_dtype_is_refused_and_recorded_with_a_sentence():
    """torch then divides by the bias correction in float32."""
    parameter = torch.nn.Parameter(torch.ones(3))
    model = torch.nn.ParameterDict({"w": parameter})
    optimizer = torch.optim.Adam([parameter], lr=torch.tensor(0.1))
    with pytest.raises(ValueError, match=r"lr is a tensor of float32, in which Adam then calculates its step size"):
        torch_bridge.from_torch(optimizer)
    parameter.grad = torch.ones(3)
    with (
        torch_bridge.record(model, optimizer, twins=False) as recorder,
        pytest.warns(UserWarning, match="lr is a tensor of float"),
    ):
        optimizer.step()
    assert recorder.trace().static["recipe"]["arithmetic"]["untranslated"] == "Adam"
    optimizer.param_groups[0]["lr"] = torch.tensor(0.1, dtype=torch.float64)
    torch_bridge.from_torch(optimizer)


@pytest.mark.parametrize("decoupled", [True, False])
def test_the_flag_that_makes_one_the_other(decoupled):
    """torch keeps the kind of the decay in the groups: ``Adam(decoupled_weight_decay=True)`` is AdamW's arithmetic."""
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 5)
    optimizer = (torch.optim.Adam if decoupled else torch.optim.AdamW)(model.parameters(), lr=0.1, weight_decay=0.1)
    for group in optimizer.param_groups:
        group["decoupled_weight_decay"] = decoupled
    tx = torch_bridge.from_torch(optimizer, named_parameters=model.named_parameters()).tx
    with torch_bridge.record(model, optimizer, twins=False) as recorder:
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(7, 6)).square().mean().backward()
            optimizer.step()
    trace = recorder.trace()
    assert torch_bridge.compare(trace, torch_bridge.replay(trace, tx, drive="update")).identical
    assert torch_bridge.compare(trace, torch_bridge.restore(trace)).identical
    assert f"funcsgd.{'adamw' if decoupled else 'adam'}(" in torch_bridge.explain(optimizer).funcsgd


def test_both_kinds_of_decay_in_one_optimizer_are_refused():
    model = torch.nn.Linear(6, 5)
    optimizer = torch.optim.Adam([{"params": [model.weight]}, {"params": [model.bias]}])
    optimizer.param_groups[0]["decoupled_weight_decay"] = True
    for refused in (torch_bridge.from_torch, torch_bridge.explain):
        with pytest.raises(ValueError, match=r"decoupled_weight_decay is True in one parameter group and False in"):
            refused(optimizer)


def test_float64_in_32_bit_mode_is_refused_and_names_must_be_the_same():
    """JAX would narrow the parameters in silence, and torch would go on from narrowed ones."""
    model = torch.nn.Linear(6, 5, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"parameter '0' is float64, which JAX makes float32 .*jax_enable_x64"):
        torch_bridge.from_torch(torch.optim.Adam(model.parameters()))
    model = torch.nn.Linear(6, 5)
    optimizer = torch.optim.Adam(model.parameters())
    _, params, state = torch_bridge.from_torch(optimizer, named_parameters=model.named_parameters())
    with pytest.raises(ValueError, match=r"a parameter '0', params have weight, bias: .* named_parameters"):
        torch_bridge.to_torch(params, state, optimizer)
