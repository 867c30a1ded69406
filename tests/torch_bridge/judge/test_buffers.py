"""Ports that are torch's in training, and in evaluation are not: their model state is judged in float64."""

import functools
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn

import funcsgd
import torch_bridge
from tests.support.sampling import one_in
from torch_bridge.judge.buffer_causes import Statistic, buffer_cause
from torch_bridge.trace.trace import in_phase

N, STEPS, RATE = 7, 4, 0.1
RULE = funcsgd.sgd(RATE)
X = [torch.randn(N, 5, generator=torch.Generator().manual_seed(t)).numpy() for t in range(STEPS + 1)]


def data(step, indices):
    return X[step]


def run(seed, inputs, activation, between=None):
    """A recorded run; before step 2 it is evaluated on ``between`` in training mode, without gradients."""
    torch.manual_seed(seed)
    norms = nn.BatchNorm1d(8), nn.BatchNorm1d(6, momentum=0.3)
    model = nn.Sequential(nn.Linear(5, 8), norms[0], activation, nn.Linear(8, 6), norms[1])
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    with torch_bridge.record(model, optimizer) as recorder:
        for t, x in enumerate(inputs):
            if t == 2 and between is not None:
                with torch.no_grad():
                    model(torch.tensor(between))
            optimizer.zero_grad()
            (model(torch.tensor(x)) ** 2).sum(1).add(1).log().mean().backward()
            optimizer.step()
    return recorder.trace()


@pytest.fixture(scope="module")
def trace():
    return run(0, X[:STEPS], nn.Tanh(), between=X[STEPS])


def norm(x, params, state, name, momentum=0.1, *, biased=False, reverse=False, keep=False, count=1):
    mean, variance = x.mean(0), x.var(0)
    y = (x - mean) / jnp.sqrt(variance + 1e-5) * params[f"{name}.weight"] + params[f"{name}.bias"]
    share = 1 - momentum if reverse else momentum
    old = {role: state[f"{name}.{role}"] for role in ("running_mean", "running_var", "num_batches_tracked")}
    new = {
        "running_mean": (1 - share) * old["running_mean"] + share * mean,
        "running_var": (1 - share) * old["running_var"] + share * variance * (1 if biased else N / (N - 1)),
        "num_batches_tracked": old["num_batches_tracked"] + count,
    }
    return y, {f"{name}.{role}": value for role, value in (old if keep else new).items()}


def loss_function(activation=jnp.tanh, **fault):
    def loss_fn(params, x, state):
        h, first = norm(x @ params["0.weight"].T + params["0.bias"], params, state, "1")
        h, second = norm(
            activation(h) @ params["3.weight"].T + params["3.bias"], params, state, "4", **{"momentum": 0.3, **fault}
        )
        return jnp.log((h**2).sum(1) + 1).mean(), {**first, **second}

    return loss_fn


def checked(trace, **fault):
    return torch_bridge.check(trace, RULE, loss_fn=loss_function(**fault), data=data, buffers=True)


def test_a_correct_port_is_not_accused(trace):
    report = checked(trace)
    assert report.verdict == "same function", report
    judged = {(f.step, f.name) for f in report.functions if f.phase == "buffer"}
    assert judged == {(t, name) for t in trace.twins for name in in_phase(trace.initial, "buffer")}
    assert {2} <= {t for t, _ in judged}  # it begins with what the evaluation had made of the statistics
    assert not any(note.startswith("Buffers") for note in report.notes)


@functools.cache
def kept_loss(linear):
    """One function for all runs, so that it is compiled once."""
    return loss_function(activation=(lambda h: h) if linear else jnp.tanh)


@pytest.mark.thorough
@pytest.mark.parametrize("linear", [False, True])
def test_correct_ports_are_not_accused(linear):
    """Inputs of many sizes and offsets; without an activation the second running mean is zero but for rounding."""
    for seed in range(25):
        rng = np.random.default_rng(seed)
        scale, offset = 10.0 ** rng.uniform(-3, 3), rng.choice([0.0, 1.0, 30.0])
        inputs = [np.float32(scale * (offset + rng.standard_normal((N, 5)))) for _ in range(3)]
        recorded = run(seed, inputs, nn.Identity() if linear else nn.Tanh())
        report = torch_bridge.check(
            recorded, RULE, loss_fn=kept_loss(linear), data=lambda t, i, x=inputs: x[t], buffers=True
        )
        assert report.verdict == "same function", f"seed {seed}, scale {scale}, offset {offset}: {report}"
        assert sum(f.phase == "buffer" for f in report.functions) >= 6


FAULTS = {
    "variance-biased": ({"biased": True}, "4.running_var", "divides by n - 1, as in flax's BatchNorm"),
    "momentum-reversed": ({"reverse": True}, "4.running_mean", "the momentum is reversed"),
    "statistics-not-updated": ({"keep": True}, "4.running_mean", "the buffer is not updated"),
    "batches-not-counted": ({"count": 0}, "4.num_batches_tracked", "batches are not counted"),
    "statistics-momentum": (
        {"momentum": 0.3 * (1 + 1e-5)},
        "4.running_mean",
        "the running statistics take 0.300003 of the new value, torch's 0.3",
    ),
}


@pytest.mark.parametrize(
    "cause", ["variance-biased", *one_in(0, [c for c in FAULTS if c != "variance-biased"], thorough=2)]
)
def test_a_port_that_is_wrong_at_evaluation_alone_is_found(trace, cause):
    fault, name, words = FAULTS[cause]
    report = checked(trace, **fault)
    difference = report.difference
    assert (report.verdict, difference.step, difference.phase, difference.name) == ("different", 0, "buffer", name)
    assert [each.name for each in report.causes] == [cause]
    assert words in str(report)
    assert f"in buffer {name}" in str(report)


@pytest.mark.thorough
def test_without_twins_a_fault_larger_than_torchs_rounding_is_found(trace):
    bare = replace(trace, twins={})
    assert checked(bare).verdict == "same function"
    report = checked(bare, biased=True)
    assert (report.verdict, [cause.name for cause in report.causes]) == ("different", ["variance-biased"])


@pytest.mark.thorough
def test_a_port_that_shows_no_model_state_is_told_so(trace):
    state = {name: jnp.asarray(value) for name, value in in_phase(trace.initial, "buffer").items()}
    report = torch_bridge.check(trace, RULE, loss_fn=lambda p, x: loss_function()(p, x, state)[0], data=data)
    assert report.ok
    (note,) = (note for note in report.notes if note.startswith("Buffers"))
    assert "1.running_mean" in note
    assert "the port shows no model state, see buffers=" in note


def step_function(hide=False, **fault):
    loss_fn = loss_function(**fault)

    def step(state, x):
        params, stats = state["params"], state["stats"]
        (loss, stats), gradient = jax.value_and_grad(loss_fn, has_aux=True)(params, x, stats)
        params = jax.tree.map(lambda p, g: p - RATE * g, params, gradient)
        shown = jax.tree.map(lambda x: x + 0, stats) if hide else stats
        return {"params": params, "stats": stats}, {
            "loss": loss, "gradient": gradient, "parameter": params, "buffer": shown,
        }  # fmt: skip

    return step


def stepped(trace, **options):
    params = {name: jnp.asarray(value) for name, value in in_phase(trace.initial, "parameter").items()}
    stats = {
        name: jnp.asarray(value, jnp.int32 if value.dtype == np.int64 else None)
        for name, value in in_phase(trace.initial, "buffer").items()
    }
    state = {"params": params, "stats": stats}
    return torch_bridge.check(trace, step=step_function(**options), state=state, data=data)


@pytest.mark.thorough
def test_a_step_function_reports_its_buffers(trace):
    report = stepped(trace)
    assert report.verdict == "same function", report
    assert {f.step for f in report.functions if f.phase == "buffer"} == set(trace.twins)


@pytest.mark.thorough
def test_faults_of_a_step_function_and_a_state_that_cannot_be_read(trace):
    report = stepped(trace, biased=True)
    assert (report.difference.phase, report.causes[0].name) == ("buffer", "variance-biased"), report
    report = stepped(trace, hide=True)
    assert report.verdict == "same function", report
    assert {f.step for f in report.functions if f.phase == "buffer"} == {0}
    assert "model state of the step function was evaluated in float64 at the first step alone" in " ".join(report.notes)


class Flax(nnx.Module):
    def __init__(self, rngs):
        self.first, self.norm1 = nnx.Linear(5, 8, rngs=rngs), nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
        self.second, self.norm2 = nnx.Linear(8, 6, rngs=rngs), nnx.BatchNorm(6, momentum=0.7, rngs=rngs)

    def __call__(self, x):
        return self.norm2(self.second(jnp.tanh(self.norm1(self.first(x)))))


def flax_port(trace, unbiased):
    graph, params, stats = nnx.split(Flax(nnx.Rngs(0)), nnx.Param, nnx.BatchStat)
    kept = {"norm1": 0.9, "norm2": 0.7}

    def loss_fn(params, x, stats):
        before = nnx.to_pure_dict(stats)
        model = nnx.merge(graph, params, stats)
        loss = jnp.log((model(x) ** 2).sum(1) + 1).mean()
        if unbiased:
            for name, keep in kept.items():
                variance, old = getattr(model, name).var, keep * before[name]["var"]
                variance[...] = old + (variance[...] - old) * N / (N - 1)
        return loss, nnx.state(model, nnx.BatchStat)

    return {
        "loss_fn": loss_fn,
        "weights": torch_bridge.map_weights(trace, params),
        "buffers": torch_bridge.map_weights(in_phase(trace.initial, "buffer"), stats),
        "data": data,
    }


@pytest.mark.thorough
def test_flaxs_batch_norm_keeps_the_biased_variance(trace):
    report = torch_bridge.check(trace, RULE, **flax_port(trace, unbiased=True))
    assert report.verdict == "same function", report
    assert "Buffers that were not compared: 1.num_batches_tracked, 4.num_batches_tracked." in report.notes
    report = torch_bridge.check(trace, RULE, **flax_port(trace, unbiased=False))
    assert (report.difference.phase, report.difference.name) == ("buffer", "1.running_var"), report
    assert report.causes[0].name == "variance-biased"


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x):
        h = linen.BatchNorm(use_running_average=False, momentum=0.9, name="norm1")(linen.Dense(8, name="first")(x))
        h = linen.Dense(6, name="second")(jnp.tanh(h))
        return linen.BatchNorm(use_running_average=False, momentum=0.7, name="norm2")(h)


def linen_port(trace, unbiased):
    variables = Linen().init(jax.random.key(0), jnp.zeros((N, 5)))
    kept = {"norm1": 0.9, "norm2": 0.7}

    def loss_fn(params, x, stats):
        y, new = Linen().apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])
        after = {
            name: {"mean": each["mean"], "var": unbiased_again(stats[name]["var"], each["var"], kept[name])}
            for name, each in new["batch_stats"].items()
        }
        return jnp.log((y**2).sum(1) + 1).mean(), after if unbiased else new["batch_stats"]

    buffers = in_phase(trace.initial, "buffer")
    return loss_fn, variables["params"], torch_bridge.map_weights(buffers, variables["batch_stats"])


def unbiased_again(before, after, keep):
    return keep * before + (after - keep * before) * N / (N - 1)


class Equinox(eqx.Module):
    first: eqx.nn.Linear
    norm1: eqx.nn.BatchNorm
    second: eqx.nn.Linear
    norm2: eqx.nn.BatchNorm

    def __init__(self, key):
        keys = jax.random.split(key)
        self.first, self.second = eqx.nn.Linear(5, 8, key=keys[0]), eqx.nn.Linear(8, 6, key=keys[1])
        self.norm1 = eqx.nn.BatchNorm(8, "batch", momentum=0.9, mode="batch")
        self.norm2 = eqx.nn.BatchNorm(6, "batch", momentum=0.7, mode="batch")

    def __call__(self, x, state):
        h, state = self.norm1(self.first(x), state)
        return self.norm2(self.second(jnp.tanh(h)), state)


def equinox_port(trace, unbiased):
    model, first = eqx.nn.make_with_state(Equinox)(jax.random.key(0))
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def loss_fn(params, x, state):
        model = eqx.combine(params, static)
        y, new = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)
        for norm, keep in ((model.norm1, 0.9), (model.norm2, 0.7)) if unbiased else ():
            (_, before), (mean, after) = state.get(norm.batch_state_index), new.get(norm.batch_state_index)
            new = new.set(norm.batch_state_index, (mean, unbiased_again(before, after, keep)))
        return jnp.log((y**2).sum(1) + 1).mean(), new

    # The state has numbers in place of names: a counter, then mean and variance, of one norm after the other.
    places = {"1.running_mean": "1/0", "1.running_var": "1/1", "4.running_mean": "3/0", "4.running_var": "3/1"}
    buffers = in_phase(trace.initial, "buffer")
    return loss_fn, params, torch_bridge.map_weights(buffers, first, overrides=places)


@pytest.mark.parametrize("port", one_in(0, [linen_port, equinox_port], thorough=2))
def test_the_model_state_of_other_libraries(trace, port):
    for unbiased, verdict in ((True, "same function"), (False, "different")):
        loss_fn, params, buffers = port(trace, unbiased)
        weights = torch_bridge.map_weights(trace, params)
        report = torch_bridge.check(trace, RULE, loss_fn=loss_fn, weights=weights, buffers=buffers, data=data)
        assert report.verdict == verdict, report
        assert "Buffers that were not compared: 1.num_batches_tracked, 4.num_batches_tracked." in report.notes
    assert [cause.name for cause in report.causes] == ["variance-biased"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buffers": {"1": 2}}, "buffers= is a dict: give True for a dict by torch's names"),
        ({"loss_fn": lambda p, x, s: loss_function()(p, x, s)[0]}, r"returns \(loss, model_state\), but it returned a"),
        ({"loss_fn": lambda p, x, s: (loss_function()(p, x, s)[0], {})}, "must return a model_state like the one"),
    ],
)
def test_what_is_wrong_with_a_model_state_is_said(trace, options, message):
    given = {"loss_fn": loss_function(), "buffers": True} | options
    with pytest.raises(ValueError, match=message):
        torch_bridge.replay(trace, RULE, drive="resync", data=data, **given)
    without = replace(trace, initial=dict(in_phase(trace.initial, "nothing")))
    if "loss_fn" not in options:
        with pytest.raises(ValueError, match="the recorded model has no buffers"):
            torch_bridge.replay(
                replace(without, initial={k: v for k, v in trace.initial.items() if not k.startswith("buffer")}),
                RULE, drive="resync", data=data, loss_fn=loss_function(), buffers=True,
            )  # fmt: skip


def test_causes_of_one_buffer():
    rng = np.random.default_rng(0)
    before, new = rng.random(5), rng.random(5)

    def cause(value, momentum=0.1):
        torchs = (1 - 0.1) * before + 0.1 * new
        return buffer_cause(Statistic("a.running_var", before, torchs, value, 1e-13), momentum)

    assert cause(0.9 * before + 0.1 * new * 31 / 32) == ("variance-biased", {})
    assert cause(0.9 * before + 0.1 * new * 0.9687) == ("", {})  # no number of values makes it
    assert cause(0.1 * before + 0.9 * new) == ("momentum-reversed", {})
    assert cause(before.copy()) == ("statistics-not-updated", {})
    words, constants = cause(0.8 * before + 0.2 * new)
    assert (words, list(constants)) == ("statistics-momentum", ["momentum"])
    assert constants["momentum"] == pytest.approx(1.0)
    words, constants = cause(0.99 * before + 0.01 * new * 31 / 32)  # what flax's BatchNorm does where nothing is given
    assert words == "statistics-momentum + variance-biased"
    assert constants["momentum"] == pytest.approx(-0.9)
    assert cause(0.99 * before + 0.01 * new * 0.9687) == ("", {})
    assert cause(0.8 * before + 0.2 * new, momentum=None) == ("", {})
