"""Update rules in float64: correct ones are accused of nothing, wrong constants are found and measured."""

import dataclasses

import numpy as np
import optax
import pytest
import torch

import funcsgd
import torch_bridge
from tests.support.ports.rules import RECIPES
from tests.support.sampling import one_in
from tests.support.small_run import recorded

pytestmark = pytest.mark.usefixtures("verdict_alone")

CORRECT = ["momentum, decay", "nesterov, decay", "clip, momentum, decay", "cosine schedule", "warm-up"]


def run_of(recipe, steps=8, *, zero_bias=False):
    """Torch's side of a recipe, on gradients that need no model's own arithmetic."""
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 5)
    if zero_bias:
        torch.nn.init.zeros_(model.bias)
    rules = recipe.torch(model.parameters())
    clip = {} if rules.max_norm is None else {"clip": {"max_norm": rules.max_norm}}
    recorder = torch_bridge.record(model, rules.optimizer, **clip)
    for _ in range(steps):
        rules.optimizer.zero_grad()
        (model(torch.randn(7, 6)) ** 2).mean().backward()
        rules.step()
    recorder.close()
    return recorder.trace()


@pytest.mark.parametrize("name", one_in(2, CORRECT))
def test_plain_optax_is_the_same_function(name):
    report = torch_bridge.check(run_of(RECIPES[name]), RECIPES[name].optax())
    assert report.verdict in ("bitwise", "same function"), report


# The momentum is in the state of optax.inject_hyperparams: it is read there, before it acts.
PHASES = {"learning_rate": "learning_rate", "momentum": "momentum_factor", "weight_decay": "weight_decay"}


@pytest.mark.parametrize("relative", one_in(2, [1e-6, 1e-2]))
def test_a_wrong_constant_is_found_and_measured(relative):
    recipe = RECIPES["clip, momentum, decay"]
    trace = run_of(recipe, steps=3)
    for name, constants in recipe.wrong(relative).items():
        report = torch_bridge.check(trace, recipe.optax(constants))
        assert report.verdict == "different", (name, relative)
        assert report.difference.step == 0, name
        if name == "max_norm":
            continue  # plain optax shows no clipped gradient: it shows in what follows
        assert report.difference.phase == PHASES[name]
        ((key, change),) = report.difference.constants.items()
        assert key == {"learning_rate": "lr"}.get(name, name)
        assert change == pytest.approx(relative, rel=0.1)


def test_what_holding_one_constant_explains_is_not_blamed_on_another():
    """A bias that began at zero is a multiple of its buffer after one step: the rounding of 0.9 to float32 there is a
    change of the weight decay by parts in a thousand, times a small bias."""
    recipe = RECIPES["momentum, decay"]
    trace = run_of(recipe, zero_bias=True)
    report = torch_bridge.check(trace, recipe.optax())
    assert report.verdict == "same function", report
    assert 1 in report.rule_steps
    for name, constants in recipe.wrong(1e-6).items():
        report = torch_bridge.check(trace, recipe.optax(constants))
        assert (report.verdict, report.difference.phase) == ("different", PHASES[name]), name
        assert list(report.difference.constants.values()) == [pytest.approx(1e-6, rel=0.1)]


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
            assert report.difference.step <= report.rule_steps[0], constant  # the first step of which a bit differs
            assert report.difference.step <= 1


def test_plain_states_are_read_by_their_fields():
    """Moments in `optax.masked` states and numbers in `optax.inject_hyperparams`, under torch's names."""
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 5)
    groups = [
        {"params": [model.weight], "betas": (0.8, 0.99)},
        {"params": [model.bias], "weight_decay": 5e-4},
    ]
    optimizer = torch.optim.Adam(groups, lr=0.05)
    with torch_bridge.record(model, optimizer) as recorder:
        for _ in range(3):
            optimizer.zero_grad()
            (model(torch.randn(7, 6)) ** 2).mean().backward()
            optimizer.step()
    trace = recorder.trace()

    def only(name, tx):
        return optax.masked(tx, {each: each == name for each in ("weight", "bias")})

    tx = optax.chain(
        only("weight", optax.inject_hyperparams(optax.add_decayed_weights)(weight_decay=0.0)),
        only("bias", optax.inject_hyperparams(optax.add_decayed_weights)(weight_decay=5e-4)),
        only("weight", optax.inject_hyperparams(optax.scale_by_adam)(b1=0.8, b2=0.99)),
        only("bias", optax.inject_hyperparams(optax.scale_by_adam)(b1=0.9, b2=0.999)),
        optax.inject_hyperparams(optax.scale_by_learning_rate)(learning_rate=0.05),
    )
    run = torch_bridge.replay(trace, tx, drive="update")
    for quantity, values in {"weight_decay_factor": (0.0, 5e-4), "beta1": (0.8, 0.9), "beta2": (0.99, 0.999)}.items():
        for group, value in enumerate(values):
            np.testing.assert_allclose(run.steps[f"{quantity}/{group}"], value, rtol=1e-7)
    for key in ("exp_avg/weight", "exp_avg_sq/bias", "parameter/bias"):
        np.testing.assert_allclose(run.steps[key], trace.steps[key], rtol=1e-4, atol=1e-9)
    assert run.steps["step/weight"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(("decay", "found"), [(5e-4, None), (5.1e-4, "weight_decay_factor")])
def test_a_decay_in_a_plain_state_is_compared(decay, found):
    trace = run_of(RECIPES["momentum, decay"], steps=3)
    tx = optax.chain(
        optax.inject_hyperparams(optax.add_decayed_weights)(weight_decay=decay), optax.sgd(0.05, momentum=0.9)
    )
    report = torch_bridge.check(trace, tx)
    assert report.ok == (found is None), report
    if found:
        assert (report.difference.step, report.difference.phase) == (0, found)
        assert report.difference.constants == {"weight_decay": pytest.approx(0.02, rel=1e-3)}


def test_another_form_is_found_in_its_phase():
    recipe = RECIPES["momentum, decay"]
    trace = run_of(recipe, steps=3)
    nesterov = recipe.optax(dataclasses.replace(recipe.constants, nesterov=True))
    report = torch_bridge.check(trace, nesterov)
    assert (report.verdict, report.difference.step, report.difference.phase) == ("different", 0, "parameter")
    undamped = optax.chain(optax.add_decayed_weights(5e-4), optax.ema(0.9, debias=False), optax.scale(-0.05))
    assert torch_bridge.check(trace, undamped).verdict == "different"


def test_clipping_that_was_not_recorded():
    """Torch's clipped gradients are then known as float32 values: the limit is theirs, and a correct port is not
    accused."""
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 5)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    recorder = torch_bridge.record(model, optimizer, clip=True)
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


@pytest.mark.thorough
def test_small_faults_of_the_small_run_are_found():
    for tx, phase in [
        (optax.chain(optax.add_decayed_weights(1.001e-2), optax.sgd(0.1, momentum=0.9)), "weight_decay"),
        (optax.chain(optax.add_decayed_weights(1e-2), optax.sgd(0.1, momentum=0.9001)), "momentum_buffer"),
        (optax.chain(optax.add_decayed_weights(1e-2), optax.sgd(0.10001, momentum=0.9)), "learning_rate"),
    ]:
        report = torch_bridge.check(recorded(), tx)
        assert (report.verdict, report.difference.phase) == ("different", phase), report
