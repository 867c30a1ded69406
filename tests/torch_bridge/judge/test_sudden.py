"""A fault of one step that has no twin is found by the free run's jump; right ports are not accused at any step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import torch_bridge
from tests.support.sampling import one_in
from torch_bridge.judge.sudden import SuddenSteps
from torch_bridge.trace.trace import in_phase

STEPS, LATE = 12, 7
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((STEPS, 16, 4)).astype(np.float32), RNG.standard_normal((STEPS, 16, 3)).astype(np.float32)


@functools.cache
def recorded(seed=0, lr=0.05, activation=torch.nn.Tanh, autocast=False):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(4, 16), activation(), torch.nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    with torch_bridge.record(model, optimizer) as recorder:
        for t in range(STEPS):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                output = model(torch.from_numpy(X[t]))
            ((output.float() - torch.from_numpy(Y[t])) ** 2).mean().backward()
            optimizer.step()
    return recorder.trace()


def loss_function(activation=jnp.tanh, dtype=None):
    def loss_fn(p, batch):
        x, y = batch
        p = {name: value.astype(dtype or value.dtype) for name, value in p.items()}
        h = activation(x.astype(dtype or x.dtype) @ p["0.weight"].T + p["0.bias"])
        return ((h @ p["2.weight"].T + p["2.bias"] - y).astype(jnp.float32) ** 2).mean()

    return loss_fn


def data(t, indices, late=None):
    x = X[t] if t != LATE or late is None else late(X[t])
    return x, Y[t]


LATE_FAULTS = {"rolled": lambda x: np.roll(x, 1, 0), "scaled": lambda x: x * np.float32(1.001), "zeros": np.zeros_like}


@pytest.mark.parametrize("fault", one_in(3, LATE_FAULTS))
def test_a_fault_of_one_step_is_found(fault):
    trace = recorded()
    assert LATE not in trace.twins
    report = torch_bridge.check(
        trace, optax.sgd(0.05, momentum=0.9), loss_fn=loss_function(),
        data=functools.partial(data, late=LATE_FAULTS[fault]), explain=False,
    )  # fmt: skip
    assert (report.verdict, report.difference.step, report.difference.phase) == ("different", LATE, "loss"), report
    assert LATE in report.loss_steps


def test_a_fault_of_one_step_of_a_step_function_is_found():
    trace, tx, loss_fn = recorded(), optax.sgd(0.05, momentum=0.9), loss_function()

    def step(state, batch):
        params, opt_state, count = state
        loss, gradient = jax.value_and_grad(loss_fn)(params, batch)
        loss, gradient = jax.tree.map(lambda x: x * jnp.where(count == LATE, 1.5, 1.0), (loss, gradient))
        updates, opt_state = tx.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
        shown = {"loss": loss, "gradient": gradient, "parameter": params, "momentum_buffer": opt_state[0].trace}
        return (params, opt_state, count + 1), shown

    params = {name: jnp.asarray(value) for name, value in in_phase(trace.initial, "parameter").items()}
    report = torch_bridge.check(trace, step=step, state=(params, tx.init(params), 0), data=data, explain=False)
    assert (report.verdict, report.difference.step, report.difference.phase) == ("different", LATE, "loss"), report


RUNS = {
    "chaos": ({"lr": 1.5, "activation": torch.nn.ReLU}, {"activation": jax.nn.relu}),
    "kinks": ({"lr": 0.3, "activation": torch.nn.ReLU}, {"activation": jax.nn.relu}),
    "a port in float32 of a run in bfloat16": ({"autocast": True, "lr": 0.3}, {}),
}


@pytest.mark.parametrize("seed", one_in(12, range(12), thorough=4))
@pytest.mark.parametrize("run", RUNS)
def test_a_right_port_is_not_accused(run, seed, monkeypatch):
    options, port = RUNS[run]
    monkeypatch.setattr("torch_bridge.judge.sudden.JUMP", -1.0)  # each step jumps
    monkeypatch.setattr("torch_bridge.judge.sudden.MOST", STEPS)
    report = torch_bridge.check(
        recorded(seed, **options), optax.sgd(options["lr"], momentum=0.9), loss_fn=loss_function(**port), data=data,
        explain=False,
    )  # fmt: skip
    assert report.verdict == "same function", str(report)
    assert report.loss_steps == tuple(range(STEPS))


def test_the_highest_jumps_are_kept():
    steps = SuddenSteps()
    for t, off in enumerate([0.0, 1e-7, 1e-4, 2e-4, 0.1, 0.2, np.inf]):
        steps.see(t, {"loss": np.float64(1.0)}, {"loss": np.float64(1.0 + off)}, state=-t)
    assert steps.states == {4: -4, 6: -6}
