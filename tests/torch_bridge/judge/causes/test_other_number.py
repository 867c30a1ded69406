"""Rules that are not written down in pieces: another number is named, several are not, right ports are not accused."""

import functools

import optax
import pytest
import torch
from torch import optim

import funcsgd
import torch_bridge
from tests.support.sampling import one_in
from tests.torch_bridge.judge.causes.runs import model


@functools.cache
def recorded(kind, **options):
    net = model()
    optimizer = kind(net.parameters(), **{"lr": 0.01, **options})
    with torch_bridge.record(net, optimizer) as recorder:
        for _ in range(6):
            optimizer.zero_grad()
            (net(torch.randn(7, 6)) ** 2).mean().mul(4).backward()
            optimizer.step()
    return recorder.trace()


FAULTS = {
    "rate-value": (optim.Adamax, {}, lambda: optax.adamax(0.03), "the learning rate is 3 times torch's"),
    "decay-missing": (optim.NAdam, {"weight_decay": 0.1}, lambda: funcsgd.nadam(0.01), "the weight decay is missing"),
    "beta1-value": (optim.NAdam, {}, lambda: funcsgd.nadam(0.01, betas=(0.8, 0.999)), "betas[0] is 0.8, torch has 0.9"),
    "beta2-value": (optim.RAdam, {}, lambda: funcsgd.radam(0.01, betas=(0.9, 0.99)), "betas[1] is 0.99, torch has 0.9"),
    "eps-value": (
        optim.NAdam, {"eps": 1e-3}, lambda: funcsgd.nadam(0.01, eps=3e-3), "epsilon is 0.003, torch has 0.001",
    ),
    "decay-value": (
        optim.Adamax, {"weight_decay": 0.1},
        lambda: optax.chain(optax.add_decayed_weights(0.05), funcsgd.adamax(0.01)),
        "the weight decay is 0.05, torch has 0.1",
    ),
    "hyperparameter-value": (
        optim.Adadelta, {}, lambda: optax.adadelta(0.01, rho=0.95, eps=1e-6), "rho is 0.95, torch has 0.9",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", one_in(7, FAULTS))
def test_it_is_named(name):
    kind, options, port, words = FAULTS[name]
    report = torch_bridge.check(recorded(kind, **options), port())
    (cause,) = report.causes
    assert cause.name == name, str(report)
    assert cause.after <= 1
    assert words in str(report)


@pytest.mark.thorough
def test_two_at_once_are_unknown():
    report = torch_bridge.check(recorded(optim.NAdam), funcsgd.nadam(0.01, betas=(0.8, 0.99)))
    assert (report.verdict, report.causes) == ("different", ())


RIGHT = {
    "nadam": (optim.NAdam, lambda: funcsgd.nadam(0.01)),
    "adamax": (optim.Adamax, lambda: optax.adamax(0.01)),
    "adadelta": (optim.Adadelta, lambda: optax.adadelta(0.01, rho=0.9, eps=1e-6)),
}


@pytest.mark.parametrize("name", one_in(0, RIGHT))
def test_a_right_port_is_not_accused(name):
    kind, port = RIGHT[name]
    report = torch_bridge.check(recorded(kind), port())
    assert report.ok, str(report)
    assert not report.causes
