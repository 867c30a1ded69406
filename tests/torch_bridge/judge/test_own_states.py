"""Rules whose state nobody can read, and numbers that an earlier quantity has shown to be torch's."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest
import torch

import torch_bridge
from tests.support.sampling import one_in

pytestmark = pytest.mark.usefixtures("verdict_alone")


class Own(NamedTuple):
    """Adam's state under a porter's own names."""

    m: Any
    v: Any
    t: Any


def own_adam(rate, b1=0.9, b2=0.999, eps=1e-8, correction=None):
    """Adam by hand; the bias correction of the squares may have a second beta of its own."""
    correction = b2 if correction is None else correction

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return Own(zeros, zeros, jnp.zeros([], jnp.int32))

    def update(gradients, state, params=None):
        t = state.t + 1
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, gradients)
        v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.v, gradients)
        root = jax.tree.map(lambda v: jnp.sqrt(v / (1 - correction**t)) + eps, v)
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
    "a power in float32": (adam, own_adam(0.01, correction=jnp.float32(0.999))),
    "optax.flatten, adam": (adam, optax.flatten(optax.adam(0.01))),
    "optax.flatten, sgd": (sgd, optax.flatten(optax.sgd(0.05, momentum=0.9))),
}


@pytest.mark.parametrize("name", one_in(2, CLEAN))
def test_a_state_that_cannot_be_read_is_no_fault(name):
    """It cannot be replaced by torch's, and has the rounding of the steps before."""
    make, tx = CLEAN[name]
    report = torch_bridge.check(run_of(make, 20), tx)
    assert report.verdict == "same function", report


@pytest.mark.thorough
@pytest.mark.parametrize(
    "options", [{"b1": 0.9001}, {"b2": 0.99}, {"eps": 1.01e-8}, {"correction": jnp.float32(0.9990003)}]
)
def test_a_fault_behind_it_is_found(options):
    report = torch_bridge.check(run_of(adam, 6), own_adam(0.01, **options))
    assert report.verdict == "different"


@pytest.mark.thorough
def test_a_number_that_an_earlier_quantity_shows_to_be_torchs_is_not_blamed():
    """optax.amsgrad keeps the largest corrected average: in the first step that looks like beta2 = 0."""
    trace = run_of(lambda parameters: adam(parameters, amsgrad=True), 3)
    report = torch_bridge.check(trace, optax.amsgrad(0.01))
    assert (report.verdict, report.difference.phase) == ("different", "max_exp_avg_sq")
    assert report.difference.constants == {}


X = [torch.randn(7, 6, generator=torch.Generator().manual_seed(t)).numpy() for t in range(6)]


def loss_fn(params, x):
    hidden = jnp.tanh(x @ params["0.weight"].T + params["0.bias"])
    return ((hidden @ params["2.weight"].T + params["2.bias"]) ** 2).mean()


def run_on_x(make):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 5))
    optimizer = make(model.parameters())
    with torch_bridge.record(model, optimizer) as recorder:
        for x in X:
            optimizer.zero_grad()
            (model(torch.tensor(x)) ** 2).mean().backward()
            optimizer.step()
    return recorder.trace()


def checked(trace, tx):
    """A step function that reports nothing of its optimizer's state."""

    def step(state, x):
        params, opt_state = state
        loss, gradient = jax.value_and_grad(loss_fn)(params, x)
        updates, opt_state = tx.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
        return (params, opt_state), {"loss": loss, "gradient": gradient, "parameter": params}

    start = {name: jnp.asarray(trace.initial[f"parameter/{name}"]) for name in trace.static["shapes"]}
    return torch_bridge.check(trace, step=step, state=(start, tx.init(start)), data=lambda t, indices: X[t])


def in_float32(rate, b2=0.999):
    """Adam whose bias correction is computed in float32."""
    return optax.chain(optax.scale_by_adam(b2=b2), optax.scale(-rate))


def test_a_step_function_that_hides_its_state_is_compared_on_its_own_gradients():
    trace = run_on_x(adam)
    report = checked(trace, own_adam(0.01))
    assert report.ok, report
    report = checked(trace, own_adam(0.01, b2=0.99))
    assert (report.verdict, report.difference.phase) == ("different", "parameter"), report
    assert report.difference.step == 1


@pytest.mark.thorough
def test_other_step_functions_that_hide_their_state():
    trace = run_on_x(adam)
    report = checked(trace, in_float32(0.01))
    assert report.ok, report
    for tx in (own_adam(0.01, b1=0.8), own_adam(0.01, eps=1e-4), in_float32(0.01, b2=0.998)):
        report = checked(trace, tx)
        assert (report.verdict, report.difference.phase) == ("different", "parameter"), report
        assert report.difference.step <= 1
    trace = run_on_x(sgd)
    assert checked(trace, optax.sgd(0.05, momentum=0.9)).ok
    report = checked(trace, optax.sgd(0.05, momentum=0.899))
    assert (report.verdict, report.difference.step) == ("different", 1)
