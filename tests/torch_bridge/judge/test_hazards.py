"""Forms that are right on these data and not on all: planted ones are named with their line, and nothing else is."""

import functools
import inspect
import io
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from rich.console import Console

import funcsgd
import torch_bridge
from tests.support.ports import layers
from tests.support.ports.common import parameters, to_jax
from tests.support.ports.families import FAMILIES
from tests.support.sampling import one_in
from tests.support.small_run import DATA, loss_fn, recorded
from torch_bridge.judge.hazards import Hazards
from torch_bridge.render.json import write_json
from torch_bridge.render.text import render_report

pytestmark = pytest.mark.usefixtures("verdict_alone")

SOFTMAX, LOGARITHM, VARIANCE = (
    "softmax without its maximum",
    "logarithm of a probability",
    "variance as E[x^2] - E[x]^2",
)
X = jnp.asarray(np.random.default_rng(0).standard_normal((4, 5)), jnp.float32)
TARGET = jnp.array([0, 3, 1, 4])
ONE_HOT = jax.nn.one_hot(TARGET, 5)


def over(e):
    return e / e.sum(-1, keepdims=True)


def picked(p):
    return jnp.take_along_axis(p, TARGET[:, None], -1)


def with_derivative(function):
    wrapped = jax.custom_jvp(function)
    wrapped.defjvp(lambda primals, tangents: jax.jvp(function, primals, tangents))
    return wrapped


PLANTED = {
    SOFTMAX: [
        lambda x: over(jnp.exp(x)),
        lambda x: jnp.exp(x) * (1 / jnp.exp(x).sum(-1, keepdims=True)),
        lambda x: jnp.exp(x) * jnp.exp(x).sum(-1, keepdims=True) ** -1,
        lambda x: over(jnp.where(x > 0, jnp.exp(x), 0)),
        lambda x: (jnp.exp(x) @ x.T) / jnp.exp(x).sum(-1, keepdims=True),
        lambda x: over(jnp.exp(x / jnp.abs(x).max()).astype(jnp.bfloat16)),  # divided by a maximum
        jax.jit(lambda x: x - jnp.log(jnp.exp(x).sum(-1, keepdims=True))),
        lambda x: jnp.log(jnp.exp(x).mean(-1) + 1e-9),
        jax.vmap(lambda row: jnp.exp(row / 0.1) / jnp.exp(row / 0.1).sum()),
        jax.checkpoint(lambda x: over(jnp.exp(x))),
        with_derivative(lambda x: over(jnp.exp(x))),
        lambda x: jax.lax.scan(lambda c, row: (c + jnp.log(jnp.exp(row).sum()), None), 0.0, x)[0],
        lambda x: jax.lax.cond(x[0, 0] > 0, lambda: over(jnp.exp(x)), lambda: x),
        lambda x: jax.lax.fori_loop(0, 3, lambda i, y: over(jnp.exp(y)), x),
        jax.value_and_grad(lambda x: jnp.log(jnp.exp(x).sum(-1)).mean()),
    ],
    LOGARITHM: [
        lambda x: jnp.log(jax.nn.softmax(x)),
        lambda x: -jnp.log(picked(jax.nn.softmax(x))).mean(),
        lambda x: -jnp.log((ONE_HOT * jax.nn.softmax(x)).sum(-1)).mean(),
        lambda x: jnp.log(jax.nn.sigmoid(x)),
        lambda x: jnp.log(1 - jax.nn.sigmoid(x)),
        lambda x: jnp.log1p(-jax.nn.sigmoid(x)),
    ],
    VARIANCE: [
        lambda x: (x**2).mean(-1) - x.mean(-1) ** 2,
        lambda x: (x * x).mean(-1) - x.mean(-1) * x.mean(-1),
        lambda x: (jnp.square(x).sum(-1) - x.sum(-1) ** 2 / 5) / 4,
        lambda x: jnp.mean(x**2, where=x > 0) - jnp.mean(x, where=x > 0) ** 2,
        jax.jit(jax.value_and_grad(lambda x: (x**2).mean() - x.mean() ** 2)),
    ],
}


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_forms_are_named_with_their_line(kind):
    source = inspect.getsourcelines(inspect.getmodule(over))[0]
    first = next(i for i, text in enumerate(source) if text.startswith("PLANTED"))
    last = next(i for i, text in enumerate(source) if text.startswith("@pytest"))
    for number, function in enumerate(PLANTED[kind]):
        (hazard,) = Hazards(function)([(X,)])
        assert hazard.kind == kind, number
        name, line = hazard.line.split(":")[:2]
        assert name == "test_hazards.py"
        assert first < int(line.split()[0]) <= last, number


def norm_of_flax(x):
    norm = linen.LayerNorm()
    return norm.apply(norm.init(jax.random.key(0), x), x)


CLEAN = [
    *(getattr(jax.nn, name) for name in ("softmax", "log_softmax", "logsumexp", "sigmoid", "log_sigmoid", "softplus")),
    *(getattr(jax.nn, name) for name in ("gelu", "silu", "elu", "selu", "relu", "mish", "celu")),
    lambda x: jax.nn.softmax(x, where=x > -1),
    lambda x: jax.nn.logsumexp(x, b=ONE_HOT),
    lambda x: optax.softmax_cross_entropy(x, ONE_HOT),
    lambda x: optax.softmax_cross_entropy_with_integer_labels(x, TARGET),
    lambda x: optax.sigmoid_binary_cross_entropy(x, ONE_HOT),
    lambda x: optax.sigmoid_focal_loss(x, ONE_HOT),
    lambda x: optax.losses.poly_loss_cross_entropy(x, ONE_HOT),
    lambda x: optax.losses.ranking_softmax_loss(x, ONE_HOT),
    lambda x: optax.losses.ntxent(x, TARGET),
    lambda x: optax.losses.kl_divergence(jax.nn.log_softmax(x), ONE_HOT),
    lambda x: over(jnp.exp((x - x.max(-1, keepdims=True)) / 0.1)),
    lambda x: over(jnp.exp(-(x - x.min(-1, keepdims=True)))),
    lambda x: jnp.exp(x - jax.nn.logsumexp(x, -1, keepdims=True)),
    lambda x: jnp.exp(x).sum() / 3 + jnp.mean(jnp.exp(x) - x),
    lambda x: jnp.log(jax.nn.softmax(x) + 1e-8) + jnp.log(jnp.clip(jax.nn.softmax(x), 1e-8)),
    lambda x: jnp.var(x, -1) + jnp.std(x, -1),
    lambda x: (x**2).mean() - x[:2].mean() ** 2,
    lambda x: x * ((TARGET**2).sum() - TARGET.sum() ** 2),  # integers are exact
    lambda x: jnp.abs(over(jnp.exp(1j * x))),
    lambda x: linen.LayerNorm(use_fast_variance=False).init_with_output(jax.random.key(0), x)[0],
]


def test_usual_functions_have_none():
    for number, function in enumerate(CLEAN):
        assert Hazards(function)([(X,)]) == (), number
        summed = jax.value_and_grad(lambda x, f=function: f(x).sum())
        assert Hazards(summed)([(X,)]) == (), number


def test_norms_of_flax_are_named():
    (hazard,) = Hazards(norm_of_flax)([(X,)])
    assert hazard.kind == VARIANCE
    assert "normalization.py" in hazard.line


@functools.cache
def start_of(name):
    script = FAMILIES[name].script()
    return parameters(script.model), tuple(to_jax(x) for x in next(script.batches()))


@pytest.mark.parametrize("name", one_in(3, FAMILIES))
def test_families_of_ports(name):
    assert Hazards(FAMILIES[name].port())([start_of(name)]) == ()
    hazards = Hazards(FAMILIES[name].port(bare_softmax=True, one_pass=True))([start_of(name)])
    text = {SOFTMAX: "if self.bare_softmax", VARIANCE: "if self.one_pass"}
    lines = inspect.getsourcelines(layers)[0]
    for hazard in hazards:
        assert text[hazard.kind] in lines[int(hazard.line.split(":")[1].split()[0]) - 1]
    normalized = "one-pass variance" in FAMILIES[name].imprecise
    assert {hazard.kind for hazard in hazards} == ({SOFTMAX, VARIANCE} if normalized else {SOFTMAX})


def test_figures_are_those_of_the_data():
    x = np.asarray(X, np.float64)
    functions = [PLANTED[SOFTMAX][0], PLANTED[LOGARITHM][0], PLANTED[VARIANCE][0]]
    largest, smallest, factor = (Hazards(f)([(X,), (X - 1,)])[0] for f in functions)
    assert largest.measured == x.max()
    assert largest.limit == pytest.approx(88.7, abs=0.1)
    assert smallest.measured == pytest.approx(np.min(np.exp(x) / np.exp(x).sum(-1, keepdims=True)), rel=1e-6)
    expected = max(np.max(y.mean(-1) ** 2 / y.var(-1)) for y in (x, np.asarray(X - 1, np.float64)))
    assert factor.measured == pytest.approx(expected, rel=1e-9)
    (narrow,) = Hazards(PLANTED[SOFTMAX][0])([(X.astype(jnp.float16),)])
    assert narrow.limit == pytest.approx(math.log(65504), rel=1e-6)
    for functions in PLANTED.values():
        assert Hazards(functions[0])([(X[:0],)])  # no example, and so no figure that is finite
    (inside,) = Hazards(PLANTED[SOFTMAX][11])([(X,)])
    assert inside.measured is None


def bare(params, batch):
    x, y = batch
    hidden = jnp.tanh(x @ params["0.weight"].T + params["0.bias"])
    z = hidden @ params["2.weight"].T + params["2.bias"]
    return -jnp.take_along_axis(z - jnp.log(jnp.exp(z).sum(-1, keepdims=True)), y[:, None], 1).mean()


def test_a_report_names_them_and_they_are_no_verdict(tmp_path):
    trace, rule = recorded(), funcsgd.sgd(0.1, momentum=0.9, weight_decay=1e-2)
    assert torch_bridge.check(trace, rule, loss_fn=loss_fn, data=DATA).hazards == ()
    report = torch_bridge.check(trace, rule, loss_fn=bare, data=DATA)
    assert report.verdict == "same function"
    (hazard,) = report.hazards
    assert 0 < hazard.measured < 10
    clause = (
        f"hazard: softmax without its maximum at {hazard.line}, largest logit {hazard.measured:.3g}, overflows at 88.7"
    )
    assert str(report).endswith(f"; {clause}")
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(render_report(report))
    assert console.export_text().count(clause) == 2
    assert report.to_dict()["hazards"][0]["kind"] == SOFTMAX
    write_json(report.to_dict(), tmp_path / "report.json")


def test_hazards_of_a_step_function_are_named():
    trace = recorded(epochs=1)
    start = {name: jnp.asarray(trace.initial[f"parameter/{name}"]) for name in trace.static["shapes"]}

    def step(params, batch):
        loss, gradient = jax.value_and_grad(bare)(params, batch)
        return params, {"loss": loss, "gradient": gradient}

    report = torch_bridge.check(trace, step=step, state=start, data=DATA)
    assert [hazard.kind for hazard in report.hazards] == [SOFTMAX]
