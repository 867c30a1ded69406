"""Faults outside the catalogue are detected, located and called unknown; several places are found one by one."""

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.ad_checkpoint import checkpoint_name

import funcsgd
import torch_bridge
from tests.support.sampling import one_in
from tests.support.small_run import DATA, recorded

SGD = funcsgd.sgd(0.1, momentum=0.9, weight_decay=1e-2)
NAMES = ("0.weight", "0.bias", "2.weight", "2.bias")


@pytest.fixture(scope="module")
def trace():
    return recorded()


def port(*, first=lambda h: h, act=jnp.tanh, second=lambda z: z, loss=lambda each: each.mean()):
    def loss_fn(p, batch):
        x, y = batch
        h = checkpoint_name(first(x @ p["0.weight"].T + p["0.bias"]), "0")
        h = checkpoint_name(act(h), "1")
        z = checkpoint_name(second(h @ p["2.weight"].T + p["2.bias"]), "2")
        return loss(-jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1))

    return loss_fn


def stage(function):
    return optax.stateless(lambda updates, params: jax.tree.map(function, updates, params))


def rule(*before, rate=0.1):
    return optax.chain(*before, optax.add_decayed_weights(1e-2), optax.trace(0.9), optax.scale(-rate))


FAULTS = {
    "units rolled": (SGD, port(first=lambda h: jnp.roll(h, 1, 1)), "forward", "0"),
    "another activation": (SGD, port(act=lambda h: jnp.tanh(h) * jnp.cos(h.sum(1, keepdims=True))), "forward", "1"),
    "logits without their mean": (SGD, port(second=lambda z: z * (1 + z.std())), "forward", "2"),
    "the hardest example": (SGD, port(loss=lambda each: each.max()), "loss", ""),
    "a root of the mean square": (SGD, port(loss=lambda each: jnp.sqrt((each**2).mean())), "loss", ""),
    "gradients cubed": (rule(stage(lambda g, p: g**3)), port(), "momentum_buffer", "0.bias"),
    "gradients normalised": (
        rule(stage(lambda g, p: g / (jnp.abs(g).mean() + 1e-3))), port(), "momentum_buffer", "0.bias"),
    "gradients centred": (rule(optax.centralize()), port(), "momentum_buffer", "0.weight"),
    "steps clipped": (
        optax.chain(optax.add_decayed_weights(1e-2), optax.trace(0.9), optax.clip(0.05), optax.scale(-0.1)),
        port(), "parameter", "0.bias"),
    "steps rounded": (
        optax.chain(optax.add_decayed_weights(1e-2), optax.trace(0.9), stage(lambda g, p: jnp.round(g * 100) / 100),
                    optax.scale(-0.1)),
        port(), "parameter", "0.bias"),
}  # fmt: skip
"""The port, and where the fault is."""
QUICK = ("gradients cubed",)


@pytest.mark.parametrize("name", [*QUICK, *one_in(0, [n for n in FAULTS if n not in QUICK], thorough=5)])
def test_it_is_located_and_unknown(trace, name):
    tx, loss_fn, phase, where = FAULTS[name]
    report = torch_bridge.check(trace, tx, loss_fn=loss_fn, data=DATA)
    assert (report.verdict, report.difference.step) == ("different", 0)
    assert (report.difference.phase, report.difference.name) == (phase, where), report
    assert where in report.place
    assert report.causes == ()
    assert report.tried
    assert str(report).endswith("cause: unknown")
    assert report.substitutions <= 15


@pytest.mark.thorough
def test_two_layers_are_found_and_what_follows_is_not(trace):
    both = port(first=lambda h: jnp.roll(h, 1, 1), second=lambda z: z[:, ::-1])
    report = torch_bridge.check(trace, SGD, loss_fn=both, data=DATA)
    assert report.place == ("0", "2"), report


def test_a_clean_port_costs_nothing(trace, monkeypatch):
    monkeypatch.setattr("torch_bridge.judge.causes.explain.place_of", None)
    report = torch_bridge.check(trace, SGD, loss_fn=port(), data=DATA)
    assert report.ok
    assert (report.causes, report.tried, report.substitutions) == ((), (), 0)
