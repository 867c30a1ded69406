"""Rules whose state nobody can read, and numbers that an earlier quantity has shown to be torch's."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest
import torch

import torch_bridge


class Own(NamedTuple):
    """Adam's state under a porter's own names."""

    m: Any
    v: Any
    t: Any


def own_adam(rate, b1=0.9, b2=0.999, eps=1e-8):
    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return Own(zeros, zeros, jnp.zeros([], jnp.int32))

    def update(gradients, state, params=None):
        t = state.t + 1
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, gradients)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.v, gradients)
        root = jax.tree.map(lambda v: jnp.sqrt(v / (1 - b2**t)) + eps, v)
        return jax.tree.map(lambda m, root: -rate * (m / (1 - b1**t)) / root, m, root), Own(m, v, t)

    return optax.GradientTransformation(init, update)


def run_of(make, steps):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5))
    optimizer = make(model.parameters())
    with torch_bridge.record(model, optimizer, twins=False) as recorder:
        for _ in range(steps):
            optimizer.zero_grad()
            (model(torch.randn(7, 6)) ** 2).mean().backward()
            optimizer.step()
    return recorder.trace()


def adam(parameters, **options):
    return torch.optim.Adam(parameters, **({"lr": 0.01} | options))


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


CLEAN = {
    "own names": (adam, own_adam(0.01)),
    "optax.flatten, adam": (adam, optax.flatten(optax.adam(0.01))),
    "optax.flatten, sgd": (sgd, optax.flatten(optax.sgd(0.05, momentum=0.9))),
}


@pytest.mark.parametrize("name", CLEAN)
def test_a_state_that_cannot_be_read_is_no_fault(name):
    """It cannot be replaced by torch's, and has the rounding of the steps before."""
    make, tx = CLEAN[name]
    report = torch_bridge.check(run_of(make, 20), tx)
    assert report.verdict == "same function", report


@pytest.mark.parametrize("options", [{"b1": 0.9001}, {"b2": 0.99}, {"eps": 1.01e-8}])
def test_a_fault_behind_it_is_found(options):
    report = torch_bridge.check(run_of(adam, 6), own_adam(0.01, **options))
    assert report.verdict == "different"


def test_a_number_that_an_earlier_quantity_shows_to_be_torchs_is_not_blamed():
    """optax.amsgrad keeps the largest corrected average: in the first step that looks like beta2 = 0."""
    trace = run_of(lambda parameters: adam(parameters, amsgrad=True), 3)
    report = torch_bridge.check(trace, optax.amsgrad(0.01))
    assert (report.verdict, report.difference.phase) == ("different", "max_exp_avg_sq")
    assert report.difference.constants == {}
