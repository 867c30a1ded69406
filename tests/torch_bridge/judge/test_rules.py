"""Update rules in float64: correct ones are accused of nothing, wrong constants are found and measured."""

import dataclasses

import optax
import pytest
import torch

import funcsgd
import torch_bridge
from tests.support.ports.rules import RECIPES
from tests.torch_bridge.small_run import recorded

CORRECT = ["momentum, decay", "nesterov, decay", "clip, momentum, decay", "cosine schedule", "warm-up"]


def run_of(recipe, steps=8):
    """Torch's side of a recipe, on gradients that need no model's own arithmetic."""
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 5)
    rules = recipe.torch(model.parameters())
    clip = {} if rules.max_norm is None else {"clipped": {"max_norm": rules.max_norm}}
    recorder = torch_bridge.record(model, rules.optimizer, **clip)
    for _ in range(steps):
        rules.optimizer.zero_grad()
        (model(torch.randn(7, 6)) ** 2).mean().backward()
        rules.step()
    recorder.close()
    return recorder.trace()


@pytest.mark.parametrize("name", CORRECT)
def test_plain_optax_is_the_same_function(name):
    report = torch_bridge.check(run_of(RECIPES[name]), RECIPES[name].optax())
    assert report.verdict in ("bitwise", "same function"), report


PHASES = {"learning_rate": "learning_rate", "momentum": "momentum", "weight_decay": "weight_decay", "max_norm": "clip"}


@pytest.mark.parametrize("relative", [1e-2, 1e-6])
def test_a_wrong_constant_is_found_and_measured(relative):
    recipe = RECIPES["clip, momentum, decay"]
    trace = run_of(recipe, steps=3)
    for name, constants in recipe.wrong(relative).items():
        report = torch_bridge.check(trace, recipe.optax(constants))
        assert report.verdict == "different", (name, relative)
        assert report.difference.step == (1 if name == "momentum" else 0), name
        if name == "max_norm":
            continue  # plain optax shows no clipped gradient: it shows in what follows
        assert report.difference.phase == PHASES[name]
        ((key, change),) = report.difference.constants.items()
        assert key == {"learning_rate": "lr"}.get(name, name)
        assert change == pytest.approx(relative, rel=0.1)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["nesterov, decay", "clip, momentum, decay", "step schedule"])
def test_wrong_constants_of_other_recipes(name):
    recipe = RECIPES[name]
    trace = run_of(recipe)
    assert torch_bridge.check(trace, recipe.optax()).ok
    for exponent in (-6, -3):
        for constant, constants in recipe.wrong(10.0**exponent).items():
            report = torch_bridge.check(trace, recipe.optax(constants))
            assert report.verdict == "different", (name, constant, exponent)
            assert report.difference.step <= 1


def test_another_form_is_found_in_its_phase():
    recipe = RECIPES["momentum, decay"]
    trace = run_of(recipe, steps=3)
    nesterov = recipe.optax(dataclasses.replace(recipe.constants, nesterov=True))
    report = torch_bridge.check(trace, nesterov)
    assert (report.verdict, report.difference.step, report.difference.phase) == ("different", 0, "parameter")
    undamped = optax.chain(optax.add_decayed_weights(5e-4), optax.ema(0.9, debias=False), optax.scale(-0.05))
    assert torch_bridge.check(trace, undamped).verdict == "different"


def test_clipping_that_the_recorder_was_not_told():
    """Torch's clipped gradients are then known as float32 values: the limit is theirs, and a correct port is not
    accused."""
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 5)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    recorder = torch_bridge.record(model, optimizer, clipped=True)
    for _ in range(3):
        optimizer.zero_grad()
        (model(torch.randn(7, 6)) ** 2).sum().backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.05)
        optimizer.step()

    def rule(limit):
        return optax.chain(optax.clip(limit), funcsgd.observe("clip"), optax.sgd(0.1, momentum=0.9))

    assert torch_bridge.check(recorder.trace(), rule(0.05)).ok
    report = torch_bridge.check(recorder.trace(), rule(0.0505))
    assert (report.verdict, report.difference.phase) == ("different", "clip")


def test_small_faults_of_the_small_run_are_found():
    for tx, phase in [
        (optax.chain(optax.add_decayed_weights(1.001e-2), optax.sgd(0.1, momentum=0.9)), "weight_decay"),
        (optax.chain(optax.add_decayed_weights(1e-2), optax.sgd(0.1, momentum=0.9001)), "momentum"),
        (optax.chain(optax.add_decayed_weights(1e-2), optax.sgd(0.10001, momentum=0.9)), "learning_rate"),
    ]:
        report = torch_bridge.check(recorded(), tx)
        assert (report.verdict, report.difference.phase) == ("different", phase), report
