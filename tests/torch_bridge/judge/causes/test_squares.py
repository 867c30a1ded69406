"""RMSprop and Adagrad: their faults are named, those of optax's own rules among them; and states to begin with."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest
import torch

import funcsgd
import torch_bridge
from tests.support.sampling import one_in
from tests.torch_bridge.judge.causes.runs import model
from torch_bridge.trace.trace import in_phase

RMSPROP, ADAGRAD, SGD = torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.SGD
rms = functools.partial(optax.rmsprop, 0.01, decay=0.99, eps_in_sqrt=False)
EPS = 1e-3


def ada(lr=0.01, first=0.0, rate=None):
    """Adagrad with torch's epsilon, as a port without optax's would have it."""

    def init(params):
        return optax.ScaleByRssState(jax.tree.map(lambda p: jnp.full_like(p, first), params))

    def update(updates, state, params=None):
        sums = jax.tree.map(lambda s, g: s + g * g, state.sum_of_squares, updates)
        steps = jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + EPS), updates, sums)
        return steps, optax.ScaleByRssState(sums)

    return optax.chain(optax.GradientTransformation(init, update), optax.scale_by_learning_rate(rate or lr))


def falling(decay, lr=0.01):
    return lambda count: lr / (1 + count * decay)


@functools.cache
def recorded(kind, before=0, **options):
    """Six steps; ``before`` of them the optimizer has made already."""
    net, options = model(), {"lr": 0.01, **options}
    optimizer = kind(net.parameters(), **options)

    def step():
        optimizer.zero_grad()
        (net(torch.randn(7, 6)) ** 2).mean().mul(4).backward()
        optimizer.step()

    for _ in range(before):
        step()
    with torch_bridge.record(net, optimizer) as recorder:
        for _ in range(6):
            step()
    return recorder.trace()


FAULTS = {
    "optax's rmsprop": (RMSPROP, {"eps": EPS}, lambda: optax.rmsprop(0.01, 0.99, EPS), ["eps-in-root"]),
    "optax's decay": (RMSPROP, {}, lambda: rms(decay=0.9), ["alpha-value"]),
    "corrected": (RMSPROP, {}, lambda: rms(bias_correction=True), ["bias-correction-extra"]),
    "not centred": (RMSPROP, {"centered": True}, rms, ["centered-missing"]),
    "not decayed": (RMSPROP, {"weight_decay": 0.1}, rms, ["decay-missing"]),
    "without momentum": (RMSPROP, {"momentum": 0.9}, rms, ["momentum-missing"]),
    "another epsilon": (RMSPROP, {"eps": EPS}, lambda: rms(eps=3 * EPS), ["eps-value"]),
    "optax's adagrad": (
        ADAGRAD, {}, lambda: optax.adagrad(0.01), ["eps-in-root", "eps-value", "first-state"],
    ),
    "a constant rate": (ADAGRAD, {"lr_decay": 0.1, "eps": EPS}, ada, ["lr-decay-missing"]),
    "a rate that falls faster": (
        ADAGRAD, {"lr_decay": 0.1, "eps": EPS}, lambda: ada(rate=falling(0.3)), ["lr-decay-value"],
    ),
    "another first sum": (ADAGRAD, {"eps": EPS}, lambda: ada(first=0.1), ["first-state"]),
    "torch's first sum": (
        ADAGRAD, {"eps": EPS, "initial_accumulator_value": 0.1}, lambda: funcsgd.adagrad(0.01, eps=EPS),
        ["first-state"],
    ),
    "a buffer of ones": (
        SGD, {"momentum": 0.9},
        lambda: began(optax.sgd(0.01, momentum=0.9), jnp.ones_like), ["first-state"],
    ),
}  # fmt: skip


LATER = ("without momentum", "a constant rate", "a rate that falls faster")
"""What the second step is the first to show."""


def began(tx, first):
    """A rule that begins with another state."""
    return optax.GradientTransformation(lambda params: jax.tree.map(first, tx.init(params)), tx.update)


@pytest.mark.parametrize("case", one_in(len(FAULTS), FAULTS))
def test_faults_are_named(case):
    kind, options, port, causes = FAULTS[case]
    report = torch_bridge.check(recorded(kind, **options), port())
    assert sorted(cause.name for cause in report.causes) == causes, (str(report), report.tried)
    assert all(cause.after <= 1 < cause.before / 1e-9 for cause in report.causes)
    assert report.difference.step == (1 if case in LATER else 0)


RIGHT = {
    "optax's rmsprop": (RMSPROP, {}, rms),
    "with momentum": (RMSPROP, {"momentum": 0.9}, lambda: rms(momentum=0.9)),
    "centred": (RMSPROP, {"centered": True, "eps": EPS}, lambda: rms(centered=True, eps=EPS)),
    "funcsgd's adagrad": (ADAGRAD, {"lr_decay": 0.1}, lambda: funcsgd.adagrad(0.01, lr_decay=0.1)),
    "a port of Adagrad": (ADAGRAD, {"eps": EPS, "lr_decay": 0.1}, lambda: ada(rate=falling(0.1))),
    "its first sum": (ADAGRAD, {"eps": EPS, "initial_accumulator_value": 0.1}, lambda: ada(first=0.1)),
    "rprop": (torch.optim.Rprop, {}, lambda: funcsgd.rprop(0.01)),
    "resumed": (ADAGRAD, {"eps": EPS, "before": 2}, lambda: ada(first=0.1)),
    "resumed, momentum": (SGD, {"momentum": 0.9, "before": 2}, lambda: optax.sgd(0.01, momentum=0.9)),
}


@pytest.mark.parametrize("case", one_in(7, RIGHT))
def test_right_ports_are_not_accused(case):
    kind, options, port = RIGHT[case]
    report = torch_bridge.check(recorded(kind, **options), port())
    assert report.ok, str(report)
    assert not report.causes


def test_a_state_that_is_given_is_judged():
    trace, tx = recorded(SGD, before=2, momentum=0.9), optax.sgd(0.01, momentum=0.9)
    params = {name: jnp.asarray(value) for name, value in in_phase(trace.initial, "parameter").items()}
    held = {name: jnp.asarray(value) for name, value in in_phase(trace.initial, "momentum_buffer").items()}
    right = (optax.TraceState(held), *tx.init(params)[1:])
    assert torch_bridge.check(trace, tx, opt_state=right).ok
    report = torch_bridge.check(trace, tx, opt_state=tx.init(params))
    assert [cause.name for cause in report.causes] == ["first-state"], str(report)
    assert (report.difference.step, report.difference.phase) == (0, "momentum_buffer")
    assert "begins with another state than torch's optimizer: momentum buffer of 0.bias is 0, torch's " in str(report)
