"""Torch's SGD in ideal arithmetic, against torch.optim.SGD in double."""

import numpy as np
import pytest
import scipy.optimize
import torch

from torch_bridge.judge.least_squares import fitted
from torch_bridge.judge.recipe import Constants, ideal_step

SHAPES = {"a": (4, 3), "b": (7,), "rests": (2,)}
BASE = {"lr": 0.3, "momentum": 0.9, "weight_decay": 0.01, "dampening": 0.25, "nesterov": False, "maximize": False}
VARIANTS = [
    {},
    {"momentum": 0.0},
    {"weight_decay": 0.0},
    {"maximize": True},
    {"nesterov": True, "dampening": 0.0},
    {"momentum": 0.0, "weight_decay": 0.0},
]


def torch_step(options, clip, values, buffers, gradients):
    """Changes and buffers after one step of torch in double."""
    parameters = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in values.items()}
    for name, gradient in gradients.items():
        parameters[name].grad = torch.tensor(gradient)
    optimizer = torch.optim.SGD(parameters.values(), **options)
    for name, buffer in buffers.items():
        optimizer.state[parameters[name]]["momentum_buffer"] = torch.tensor(buffer)
    if clip is not None:
        function = "clip_grad_value_" if "clip_value" in clip else "clip_grad_norm_"
        getattr(torch.nn.utils, function)(parameters.values(), **clip)
    optimizer.step()
    changes = {name: parameters[name].detach().numpy() - values[name] for name in gradients}
    moved = {name: optimizer.state[parameters[name]].get("momentum_buffer") for name in gradients}
    return changes, {name: buffer.numpy() for name, buffer in moved.items() if buffer is not None}


def drawn(seed, names):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(SHAPES[name]) for name in names}


def ideal(options, clip, values, buffers, gradients):
    units = {key: options[key] or 1.0 for key in ("lr", "momentum", "weight_decay")}
    order = {"arguments": clip, "order": list(SHAPES)} if clip else None
    return ideal_step([(list(SHAPES), Constants(**options, units=units))], order, values, buffers, gradients)


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("started", [("a", "b"), ("a",), ()])
def test_a_step_is_torchs_in_double(options, started):
    options = BASE | options
    given = drawn(0, SHAPES), drawn(1, started), drawn(2, ("a", "b"))
    phases = ideal(options, None, *given)
    changes, buffers = torch_step(options, None, *given)
    assert phases["parameter"].keys() == {"a", "b"}
    for name, change in changes.items():
        np.testing.assert_allclose(phases["parameter"][name].value, change, rtol=1e-13, atol=1e-15)
    assert phases.get("momentum", {}).keys() == (buffers.keys() if options["momentum"] else set())
    for name, found in phases.get("momentum", {}).items():
        np.testing.assert_allclose(found.value, buffers[name], rtol=1e-14)


@pytest.mark.parametrize(
    "clip",
    [
        {"max_norm": 0.5},
        {"max_norm": 0.5, "norm_type": float("inf")},
        {"max_norm": 1.5, "norm_type": 3.0},
        {"max_norm": 1e3},
        {"clip_value": 0.4},
    ],
)
def test_clipping_is_torchs_in_double(clip):
    given = drawn(0, SHAPES), {}, drawn(2, ("a", "b"))
    changes, _ = torch_step(BASE, clip, *given)
    phases = ideal(BASE, clip, *given)
    for name, change in changes.items():
        np.testing.assert_allclose(phases["parameter"][name].value, change, rtol=1e-13, atol=1e-15)
    assert phases["clip"].keys() == {"a", "b"}


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("started", [("a", "b"), ()])
def test_columns_are_derivatives(options, started):
    options = BASE | options
    given = drawn(0, SHAPES), drawn(1, started), drawn(2, ("a", "b"))
    phases = ideal(options, None, *given)
    h = 1e-5
    for key in ("lr", "momentum", "weight_decay"):
        if not options[key]:
            continue  # its form changes at zero
        up, down = (ideal(options | {key: options[key] * (1 + s)}, None, *given) for s in (h, -h))
        for phase in ("weight_decay", "momentum", "parameter"):
            for name, quantity in phases.get(phase, {}).items():
                slope = (up[phase][name].value - down[phase][name].value) / (2 * h)
                column = quantity.columns().get(key, np.zeros_like(slope))
                np.testing.assert_allclose(column, slope, rtol=1e-6, atol=1e-9)


def test_a_decay_where_torch_has_none_is_a_column():
    given = drawn(0, SHAPES), {}, drawn(2, ("a",))
    quantity = ideal(BASE | {"weight_decay": 0.0}, None, *given)["weight_decay"]["a"]
    np.testing.assert_array_equal(quantity.columns()["weight_decay"], given[0]["a"])


@pytest.mark.parametrize("spread", [1.0, 1e-4])
def test_changes_are_fitted_where_columns_almost_coincide(spread):
    rng = np.random.default_rng(0)
    first = rng.standard_normal(1000)
    columns = {"lr": first, "weight_decay": first + spread * rng.standard_normal(1000)}
    sizes = {key: float(np.linalg.norm(column)) for key, column in columns.items()}
    gap = 3e-7 * columns["lr"] - 1e-3 * columns["weight_decay"]
    changes, rest = fitted(gap, columns, sizes)
    assert changes["lr"] == pytest.approx(3e-7, rel=1e-4, abs=1e-16 / spread)
    assert changes["weight_decay"] == pytest.approx(-1e-3, rel=1e-9)
    assert rest < 1e-15 * np.linalg.norm(gap) / spread
    other = rng.standard_normal(1000)
    assert fitted(gap + 1e-6 * other, columns, sizes)[1] > 0.9e-6 * np.linalg.norm(other)


def test_a_fit_keeps_changes_within_their_bounds():
    """Two columns that are one direction: what a small change of the first explains is not put on the second."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal(1000)
    columns = {"momentum": first, "weight_decay": 1e-5 * first}
    sizes = {key: float(np.linalg.norm(column)) for key, column in columns.items()}
    gap = 1e-7 * first
    assert abs(fitted(gap, columns, sizes)[0]["weight_decay"]) > 1e-3
    changes, rest = fitted(gap, columns, sizes, {"momentum": 2e-7, "weight_decay": 2e-7})
    assert changes["momentum"] == pytest.approx(1e-7, rel=1e-4)
    assert abs(changes["weight_decay"]) <= 2e-7
    assert rest < 1e-14 * np.linalg.norm(gap)
    changes, rest = fitted(gap, columns, sizes, {"momentum": 2e-8, "weight_decay": 2e-8})
    assert changes == pytest.approx({"momentum": 2e-8, "weight_decay": 2e-8})
    assert rest == pytest.approx(0.8 * np.linalg.norm(gap), rel=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_a_bounded_fit_is_the_least_squares_solution(seed):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((3, 50)) + 3 * rng.standard_normal(50)  # directions close to each other
    gap, most = rng.standard_normal(50) + 2 * rows[0], np.exp(rng.standard_normal(3))
    columns = {str(i): row for i, row in enumerate(rows)}
    sizes = {key: float(np.linalg.norm(row)) for key, row in columns.items()}
    changes, rest = fitted(gap, columns, sizes, {str(i): bound for i, bound in enumerate(most)})
    expected = scipy.optimize.lsq_linear(rows.T, gap, (-most, most), method="bvls", tol=1e-14)
    np.testing.assert_allclose(list(changes.values()), expected.x, rtol=1e-8, atol=1e-10)
    assert rest == pytest.approx(np.sqrt(2 * expected.cost))
