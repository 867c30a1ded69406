"""An optimizer of one adapter file and one rule file: every door takes it, and no other line names it."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
import torch

import torch_bridge
from tests.support.made_up.adapter import LION
from tests.support.made_up.torch_side import Lion
from torch_bridge import checkpoint
from torch_bridge.trace.keep import Keep
from torch_bridge.translate.optimizers import registry
from torch_bridge.translate.recipe_data import recorded_recipe

SHAPES = {"0.weight": (5, 6), "0.bias": (5,), "2.weight": (3, 5), "2.bias": (3,)}


@pytest.fixture(autouse=True)
def known():
    registry.register(LION)
    yield
    del registry._ADAPTERS[LION.torch_class]


def make():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 3e-3, "maximize": True}]
    optimizer = Lion(groups, betas=(0.8, 0.95))
    return model, optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)


def steps(model, optimizer, scheduler, numbers):
    gradients = []
    for number in numbers:
        optimizer.zero_grad()
        x = torch.randn(7, 6, generator=torch.Generator().manual_seed(number))
        (model(x) ** 2).mean().backward()
        gradients.append({name: p.grad.numpy().copy() for name, p in model.named_parameters()})
        optimizer.step()
        scheduler.step()
    return gradients


def recorded(**options):
    run = make()
    with torch_bridge.record(*run[:2], scheduler=run[2], **options) as recorder:
        steps(*run, range(6))
    return recorder.trace()


def test_record_replay_compare_restore():
    trace = recorded()
    assert trace.state == ("exp_avg",)
    assert set(trace.steps) >= {"beta1/1", "learning_rate/0", "exp_avg/2.bias", "parameter/0.weight"}
    model, optimizer, scheduler = make()
    tx = torch_bridge.from_torch(optimizer, scheduler, named_parameters=model.named_parameters()).tx
    replayed = torch_bridge.replay(trace, tx, drive="update")
    assert torch_bridge.compare(trace, replayed).identical
    assert torch_bridge.compare(trace, torch_bridge.restore(recorded(keep=Keep("digest", every=100)))).identical


def test_check_names_a_wrong_constant():
    trace = recorded(twins=False)
    groups = {0: optax.lion, 1: lambda *a, **k: optax.chain(optax.scale(-1.0), optax.lion(*a, **k))}
    labels = {name: int(name[0]) // 2 for name in SHAPES}

    def port(b2=0.95):
        rates = [optax.exponential_decay(lr, 1, 0.9) for lr in (1e-2, 3e-3)]
        options = {"b1": 0.8, "b2": b2, "weight_decay": 0.0}
        return optax.partition({i: make(rates[i], **options) for i, make in groups.items()}, labels)

    assert torch_bridge.check(trace, port()).ok
    report = torch_bridge.check(trace, port(0.9501))
    assert (report.verdict, report.difference.phase) == ("different", "exp_avg")
    assert report.difference.constants == {"betas[1]": pytest.approx(0.0001 / 0.95, rel=1e-3)}


def test_moves_to_jax_and_back(x64):
    stayed, left, back = make(), make(), make()
    steps(*stayed, range(9))
    steps(*left, range(3))
    named = list(left[0].named_parameters())
    tx, params, state = torch_bridge.from_torch(*left[1:], named_parameters=named)
    assert params["0.weight"].dtype == np.float32
    step = jax.jit(lambda p, s, g: (lambda u, n: (optax.apply_updates(p, u), n))(*tx.update(g, s, p)))
    reference = make()
    gradients = steps(*reference, range(6))
    for number in range(3, 6):
        params, state = step(params, state, gradients[number])
    moved = torch_bridge.to_torch(params, state, *back[1:], named_parameters=back[0].named_parameters())
    back[0].load_state_dict(moved.model)
    back[1].load_state_dict(moved.optimizer)
    back[2].load_state_dict(moved.scheduler)
    steps(*back, range(6, 9))
    for ours, theirs in zip(back[0].parameters(), stayed[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_explain_runs():
    model, optimizer, scheduler = make()
    explanation = torch_bridge.explain(optimizer, scheduler, named_parameters=model.named_parameters(), epochs=6)
    assert "from tests.support.made_up.rule import lion" in explanation.funcsgd
    assert "optax.lion(" in explanation.optax
    namespace = dict(explanation.functions)
    exec(explanation.funcsgd, namespace)
    trace = recorded()
    assert torch_bridge.compare(trace, torch_bridge.replay(trace, namespace["tx"], drive="update")).identical
    header = json.loads(json.dumps(dict(trace.static)))
    assert torch_bridge.explain(recorded_recipe(header), epochs=6).funcsgd == explanation.funcsgd


def test_without_its_adapter_it_is_recorded_and_refused_by_name():
    del registry._ADAPTERS[LION.torch_class]
    try:
        trace = recorded()
        assert trace.state == ("exp_avg",)
        assert trace.value("exp_avg/0.bias", 5).any()
        with pytest.raises(TypeError, match=r"torch_side\.Lion has no rule here"):
            torch_bridge.restore(replace(trace, digests={"parameter/0.weight": np.zeros((6, 2), np.uint64)}))
        run = make()
        with pytest.raises(TypeError, match=r"torch_side\.Lion has no rule here"):
            torch_bridge.from_torch(run[1])
        replayed = torch_bridge.replay(trace, optax.lion(1e-2, 0.8, 0.95, weight_decay=0.0), drive="update")
        assert "parameter/0.weight" in replayed.steps
    finally:
        registry.register(LION)


def test_no_other_source_line_names_it():
    root = Path(torch_bridge.__file__).parent.parent
    for package in ("funcsgd", "torch_bridge"):
        for path in (root / package).rglob("*.py"):
            assert "lion" not in path.read_text().lower().replace("million", ""), path


def test_its_checkpoint_goes_on_and_back(tmp_path):
    model, optimizer, _ = make()
    still = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    steps(model, optimizer, still, range(3))
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "a.pt")
    found = checkpoint.load(tmp_path / "a.pt", names=[["0.weight", "0.bias"], ["2.weight", "2.bias"]])
    tx = found.rule()
    params, state = found.to_jax(tx)
    gradients = steps(model, optimizer, still, range(3, 5))

    @jax.jit
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for each in gradients:
        params, state = step(params, state, each)
    back = found.from_jax(params, state)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(back.model[name], value)
    for number, held in optimizer.state_dict()["state"].items():
        np.testing.assert_array_equal(back.part("optimizer")["state"][number]["exp_avg"], held["exp_avg"])
