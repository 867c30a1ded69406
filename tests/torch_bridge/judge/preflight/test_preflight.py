"""Planted differences of recipe and environment are each named; of a clean pair nothing is said."""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import funcsgd
import torch_bridge
from funcsgd import averages
from tests.support.small_run import DATA, loss_fn, make, recorded
from torch_bridge import random
from torch_bridge.judge.preflight.environment import environment_findings
from torch_bridge.judge.preflight.side import Sides
from torch_bridge.trace.trace import in_phase

ORDER = ("0.weight", "0.bias", "2.weight", "2.bias")


@pytest.fixture(scope="module")
def plain():
    """SGD with momentum and coupled weight decay."""
    return recorded()


@pytest.fixture(scope="module")
def rich():
    """AdamW with clipping, an average, a schedule, and biases in a group of their own."""
    model, _, criterion, loader = make()
    biases = [p for p in model.parameters() if p.ndim == 1]
    weights = [p for p in model.parameters() if p.ndim > 1]
    groups = [{"params": weights, "weight_decay": 1e-2}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    recorder = torch_bridge.record(
        model, optimizer, criterion=criterion, loader=loader, average=average, clip={"max_norm": 0.5}, twins=False
    )
    for _ in range(3):
        for x, y in loader:
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            average.update_parameters(model)
        scheduler.step()
    return recorder.trace()


def sgd(lr=0.1, **options):
    return funcsgd.sgd(lr, **{"momentum": 0.9, "weight_decay": 1e-2, **options})


def adamw(*, clip=0.5, decay=0.9, biases=0.0, rate=None, **options):
    table = 1e-2 * 0.5 ** np.arange(3)
    rate = rate or (lambda count: jnp.asarray(table)[count // 3])
    root = torch_bridge.torch_root()
    rules = {
        "weight": funcsgd.adamw(rate, **{"weight_decay": 1e-2, "sqrt": root, **options}),
        "bias": funcsgd.adamw(rate, **{"weight_decay": biases, "sqrt": root, **options}),
    }
    stages = [optax.partition(rules, {name: name.partition(".")[2] for name in ORDER})]
    stages = [funcsgd.clip_grad_norm(clip, order=ORDER), *stages] if clip else stages
    chain = optax.chain(*stages)
    return averages.with_average(chain, averages.ema(decay, lerp=True)) if decay else chain


def named(trace, tx=None, **options):
    found = torch_bridge.preflight(trace, tx, **options)
    assert not any("could not be compared" in sentence for sentence in found.unread)
    for finding in found.findings:
        assert finding.sentence.endswith(".")
        assert finding.remedy.endswith(".")
    return {finding.name: finding for finding in found.findings}


def test_nothing_is_said_about_clean_pairs(plain, rich):
    start = in_phase(plain.initial, "parameter")
    order = [plain.value("data", t)[plain.value("data", t) >= 0] for t in range(plain.n_steps)]
    assert named(plain, sgd(), loss_fn=loss_fn, data=DATA, params=start, order=order) == {}
    assert named(plain, optax.chain(optax.add_decayed_weights(1e-2), optax.sgd(0.1, 0.9))) == {}
    assert named(rich, adamw()) == {}
    assert named(rich) == {}


def test_it_takes_less_than_two_seconds(plain):
    torch_bridge.preflight(plain, sgd(), loss_fn=loss_fn, data=DATA)
    begin = time.process_time()
    torch_bridge.preflight(plain, sgd(), loss_fn=loss_fn, data=DATA)  # another rule, compiled anew
    assert time.process_time() - begin < 2


SGD_FAULTS = {
    "learning rate": (sgd(0.05), "0.1", "0.05"),
    "schedule": (sgd(lambda count: 0.1 * 0.5 ** (count >= 2)), "0.1", "0.05"),
    "momentum": (sgd(momentum=0.8), "0.9", "0.8"),
    "weight decay": (sgd(weight_decay=1e-3), "0.01", "0.001"),
    "dampening": (sgd(dampening=0.5), "0", "0.5"),
    "nesterov": (sgd(nesterov=True), "False", "True"),
    "clipping": (optax.chain(optax.clip_by_global_norm(0.37), sgd()), "no clipping", "a norm of 0.37 is left"),
    "update rule": (optax.lion(1e-3), "torch.optim.sgd.SGD", "another rule"),
}


@pytest.mark.parametrize("name", SGD_FAULTS)
def test_a_difference_of_the_rule_is_named(plain, name):
    tx, torch_value, jax_value = SGD_FAULTS[name]
    found = named(plain, tx)
    assert list(found) == [name]
    assert (found[name].torch, found[name].jax) == (torch_value, jax_value)


def other_root():
    return "mkl_avx512" if torch_bridge.torch_root().name == "correct" else "correct"


ADAMW_FAULTS = {
    "betas": (lambda: adamw(betas=(0.9, 0.99)), "0.999", "0.99"),
    "epsilon": (lambda: adamw(eps=1e-6), "1e-08", "1e-06"),
    "clipping": (lambda: adamw(clip=None), "max_norm=0.5", "no clipping"),
    "average": (lambda: adamw(decay=None), "ema(decay=0.9, lerp=True)", "none"),
    "square root": (
        lambda: adamw(sqrt="mkl_avx512" if torch_bridge.torch_root().name == "correct" else "correct"),
        "",
        "",
    ),
}


LONG = ("betas", "epsilon")  # these are found as the weight decay is


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.thorough) if name in LONG else name for name in ADAMW_FAULTS]
)
def test_a_difference_of_a_whole_recipe_is_named(rich, name):
    tx, torch_value, jax_value = ADAMW_FAULTS[name]
    found = named(rich, tx())
    assert list(found) == [name]
    assert not torch_value or (found[name].torch, found[name].jax) == (torch_value, jax_value)


def test_a_rate_that_is_set_in_the_given_state_counts(plain):
    tx, start = sgd(0.05), in_phase(plain.initial, "parameter")
    state = tx.init(start)
    assert list(named(plain, tx, opt_state=state)) == ["learning rate"]
    assert named(plain, tx, opt_state=funcsgd.set_learning_rate(state, 0.1)) == {}
    counted = optax.adam(1e-3).init(start)
    counted = (counted[0]._replace(count=jnp.array(5)), *counted[1:])
    assert "has counted steps" in torch_bridge.preflight(plain, optax.adam(1e-3), opt_state=counted).unread[0]


def test_stages_in_another_order_are_no_other_numbers(plain):
    late = (funcsgd.add_momentum(0.9), funcsgd.add_weight_decay(1e-2), funcsgd.scale_by_learning_rate(0.1))
    assert list(named(plain, optax.chain(*late))) == ["update rule"]


def test_two_faults_and_their_parameters_are_named(plain, rich):
    found = named(rich, adamw(biases=1e-2))
    assert found["weight decay"].sentence == "torch moves 0.bias, 2.bias with weight_decay=0, the port as with 0.01."
    assert set(named(plain, sgd(0.05, weight_decay=1e-3))) == {"learning rate", "weight decay"}
    masked = optax.add_decayed_weights(1e-2, mask=lambda p: jax.tree.map(lambda x: x.ndim > 1, p))
    found = named(plain, optax.chain(masked, optax.sgd(0.1, 0.9)))
    assert "0.bias, 2.bias" in found["weight decay"].sentence
    found = named(rich, adamw(decay=0.99))
    assert list(found) == ["average"]


def detached(params, batch):
    return loss_fn({**params, "0.weight": jax.lax.stop_gradient(params["0.weight"])}, batch)


def test_differences_of_data_and_parameters_are_named(plain):
    order = [plain.value("data", t)[plain.value("data", t) >= 0] for t in range(plain.n_steps)]
    order[2] = order[2][::-1]
    start = in_phase(plain.initial, "parameter")
    cases = {
        "batch order": {"order": order},
        "number of examples": {"data": (DATA[0][:30], DATA[1][:30])},
        "data type": {"data": (DATA[0].astype(np.float16), DATA[1])},
        "initial weights": {"params": {**start, "0.bias": start["0.bias"] + 1e-3}},
        "parameter type": {"params": jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16).astype(jnp.float16), start)},
        "no gradient": {"loss_fn": detached, "data": DATA},
    }
    for name, options in cases.items():
        assert name in named(plain, **options), name
    assert "Batch 2 (from 0)" in named(plain, order=order)["batch order"].sentence


def test_a_parameter_that_stands_still_is_named(plain):
    steps = {key: rows for key, rows in plain.steps.items() if key != "gradient/0.bias"}
    steps["parameter/2.bias"] = np.broadcast_to(plain.initial["parameter/2.bias"], (plain.n_steps, 3)).copy()
    found = torch_bridge.preflight(dataclasses.replace(plain, steps=steps)).findings
    assert [finding.name for finding in found] == ["parameter that stands still"] * 2
    assert "0.bias has no gradient at any step" in found[0].sentence
    assert "2.bias is the same in every bit" in found[1].sentence


def test_a_frozen_parameter_that_the_port_trains_is_named(plain):
    recipe = {**plain.static["recipe"], "frozen": ["0.bias"]}
    trace = dataclasses.replace(plain, static={**plain.static, "recipe": recipe})
    assert "frozen parameter" in named(trace, sgd(), loss_fn=loss_fn, data=DATA)
    frozen = optax.masked(optax.set_to_zero(), {name: name == "0.bias" for name in ORDER})
    assert "frozen parameter" not in named(trace, optax.chain(sgd(), frozen), loss_fn=loss_fn, data=DATA)


def test_differences_of_the_environment_are_named(plain, monkeypatch):
    def names(trace=plain):
        return [finding.name for finding in environment_findings(Sides(trace))]

    assert names() == []
    with jax.enable_x64(True):
        assert names() == ["x64 mode"]
    with jax.default_matmul_precision("bfloat16"):
        assert names() == ["matmul precision"]
    with jax.disable_jit():
        assert names() == ["eager update"]
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true --xla_cpu_max_isa=AVX --xla_dump_to=x")
    assert names() == ["XLA flag", "XLA flag"]
    monkeypatch.delenv("XLA_FLAGS")
    static = {**plain.static, "versions": {"torch": "2.1.0"}, "dtypes": {"0.weight": "float64"}}
    static["platform"] = {**plain.static["platform"], "threads": 1 + torch.get_num_threads()}
    assert names(dataclasses.replace(plain, static=static)) == ["x64 mode", "versions", "threads"]
    sentence = "the loader has in_order=False: its batches come in the order of arrival"
    trace = dataclasses.replace(plain, static={**plain.static, "not_recorded": [sentence]})
    assert list(named(trace)) == ["in_order"]


def test_of_many_parameters_a_few_of_each_kind_are_looked_at(monkeypatch):
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(30)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    recorder = torch_bridge.record(model, optimizer, scheduler=scheduler, twins=False)
    for _ in range(20):
        optimizer.zero_grad()
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        scheduler.step()
    trace = recorder.trace()
    rates = np.array([float(trace.value("learning_rate/0", t)) for t in range(20)])
    masked = optax.add_decayed_weights(1e-2, mask=lambda p: jax.tree.map(lambda x: x.ndim == 1, p))
    found = named(trace, optax.chain(masked, optax.sgd(lambda count: jnp.asarray(rates)[count], 0.9)))
    assert list(found) == ["weight decay"]
    assert found["weight decay"].sentence.startswith("torch moves 0.bias, 1.bias, 9.bias and others like them with")
    monkeypatch.setattr("torch_bridge.judge.preflight.probes.VALUES", 0)
    assert torch_bridge.preflight(trace, optax.sgd(0.1, 0.9)).unread == (
        "The update rules were compared at the first 16 of 20 steps before the run.",
        "The update rules were compared in 6 of 60 parameters before the run, some of each group and kind.",
    )
    monkeypatch.undo()
    found = named(trace, optax.sgd(0.1, 0.9))["schedule"]
    assert "the first of 19 of 20 steps at which they differ" in found.sentence
    assert found.sentence.startswith("The learning rate of every parameter is")


def test_seeds_and_states_of_both_sides_are_listed(plain):
    before = random.default_generator.get_state()
    try:
        random.manual_seed(7)
        found = torch_bridge.preflight(plain)
        assert [finding.name for finding in found.findings] == ["seed"]
        assert ("0", "7") in [(draw.torch, draw.jax) for draw in found.draws]
        random.manual_seed(0)
        assert torch_bridge.preflight(plain).findings == ()
    finally:
        random.default_generator.set_state(before)


def test_what_cannot_be_compared_is_said(plain):
    def update(updates, state, params=None):
        raise RuntimeError("only on a TPU")

    found = torch_bridge.preflight(plain, optax.GradientTransformation(lambda params: (), update))
    assert found.unread == ("The update rule could not be compared before the run: RuntimeError: only on a TPU",)
