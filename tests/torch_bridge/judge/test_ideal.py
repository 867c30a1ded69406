"""Torch's rules in ideal arithmetic, against torch itself in double."""

import numpy as np
import pytest
import scipy.optimize
import torch

from tests.support.sampling import one_in
from torch_bridge.judge.ideal import IdealGroup, clipped, ideal_step
from torch_bridge.judge.least_squares import fitted
from torch_bridge.translate.optimizers import adapter_of, with_numbers
from torch_bridge.translate.optimizers.registry import class_of

SHAPES = {"a": (4, 3), "b": (7,), "idle": (2,)}
ADAM = {"lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.01}
SGD = {"lr": 0.3, "momentum": 0.9, "weight_decay": 0.01, "dampening": 0.25}
CASES = {
    "sgd": (torch.optim.SGD, SGD),
    "no momentum": (torch.optim.SGD, SGD | {"momentum": 0.0}),
    "no decay": (torch.optim.SGD, SGD | {"weight_decay": 0.0}),
    "maximize": (torch.optim.SGD, SGD | {"maximize": True}),
    "nesterov": (torch.optim.SGD, SGD | {"nesterov": True, "dampening": 0.0}),
    "plain": (torch.optim.SGD, {"lr": 0.3}),
    "adam": (torch.optim.Adam, ADAM),
    "amsgrad": (torch.optim.Adam, ADAM | {"amsgrad": True, "maximize": True}),
    "adamw": (torch.optim.AdamW, ADAM),
    "adamw, no decay": (torch.optim.AdamW, ADAM | {"weight_decay": 0.0}),
}
BEFORE = one_in(3, [("a", "b"), ("a",), ()])


class Side:
    """A torch run in double: ``before`` names what had a gradient in two steps before the one that is compared."""

    def __init__(self, case, before):
        self.kind, self.options = CASES[case]
        values = drawn(0, SHAPES)
        self.parameters = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in values.items()}
        self.optimizer = self.kind(self.parameters.values(), **self.options)
        for seed in (1, 2):
            self.step(drawn(seed, before))
        self.values = {name: p.detach().numpy().copy() for name, p in self.parameters.items()}
        self.state = self.held()
        self.gradients = drawn(3, ("a", "b"))

    def step(self, gradients):
        for name, parameter in self.parameters.items():
            parameter.grad = torch.tensor(gradients[name]) if name in gradients else None
        self.optimizer.step()

    def held(self):
        held = {}
        for name, parameter in self.parameters.items():
            for key, entry in self.optimizer.state[parameter].items():
                if entry is not None:
                    held.setdefault(key, {})[name] = entry.numpy().copy()
        return held

    def ideal(self, **changed):
        adapter, (group,) = adapter_of(self.optimizer), self.optimizer.param_groups
        options = with_numbers(
            adapter.options(group), {n: changed[n.label] for n in adapter.numbers if n.label in changed}
        )
        state = {key: self.state.get(key, {}) for key in adapter.state}
        return ideal_step(
            class_of(self.optimizer), [IdealGroup(list(SHAPES), options)], self.values, state, self.gradients
        )


def drawn(seed, names):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(SHAPES[name]) for name in names}


@pytest.mark.parametrize("before", BEFORE, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_a_step_is_torchs_in_double(case, before):
    side = Side(case, before)
    phases = side.ideal()
    side.step(side.gradients)
    assert phases["parameter"].keys() == {"a", "b"}
    for name in ("a", "b"):
        change = side.parameters[name].detach().numpy() - side.values[name]
        np.testing.assert_allclose(phases["parameter"][name].value, change, rtol=1e-11, atol=1e-14)
    for key, tree in side.held().items():
        for name in tree.keys() & {"a", "b"}:
            if key != "step":
                np.testing.assert_allclose(phases[key][name].value, tree[name], rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("case", one_in(2, ["sgd", "nesterov", "adamw", "adam"]))
def test_columns_are_derivatives_and_numbers_can_be_moved(case):
    side = Side(case, ("a", "b"))
    phases, adapter = side.ideal(), adapter_of(side.optimizer)
    (group,) = side.optimizer.param_groups
    h = 1e-5
    for number in (number for number in adapter.numbers if number.fitted):
        value = float(number.of(group))
        up, down = (side.ideal(**{number.label: value * (1 + s)}) for s in (h, -h))
        for phase in phases:
            quantity = phases[phase]["a"]
            slope = (up[phase]["a"].value - down[phase]["a"].value) / (2 * h)
            scale = np.abs(slope).max() + 1e-7
            np.testing.assert_allclose(quantity.columns()[number.label], slope, rtol=1e-4, atol=1e-4 * scale)
            np.testing.assert_allclose(quantity.at({number.label: h}), up[phase]["a"].value, rtol=1e-12, atol=1e-15)


def test_a_decay_where_torch_has_none_is_a_column():
    side = Side("plain", ())
    np.testing.assert_array_equal(side.ideal()["weight_decay"]["a"].columns()["weight_decay"], side.values["a"])


@pytest.mark.parametrize("case", ["sgd", "adam"])
def test_sizes_measure_how_much_rounding_of_the_inputs_arrives(case):
    side = Side(case, ("a", "b"))
    side.gradients["a"] = -0.01 * side.values["a"] + 1e-9  # all but cancelled by the decay
    decayed = side.ideal()["weight_decay"]["a"]
    assert np.linalg.norm(decayed.value) < 1e-6 * decayed.size
    assert decayed.size == pytest.approx(np.sqrt(2) * 0.01 * np.linalg.norm(side.values["a"]), rel=0.5)


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
    gradients = drawn(2, ("a", "b"))
    parameters = [torch.nn.Parameter(torch.zeros(SHAPES[name], dtype=torch.float64)) for name in gradients]
    for parameter, gradient in zip(parameters, gradients.values(), strict=True):
        parameter.grad = torch.tensor(gradient)
    function = "clip_grad_value_" if "clip_value" in clip else "clip_grad_norm_"
    getattr(torch.nn.utils, function)(parameters, **clip)
    found = clipped(gradients, clip, list(SHAPES))
    for parameter, name in zip(parameters, gradients, strict=True):
        np.testing.assert_allclose(found[name], parameter.grad.numpy(), rtol=1e-13)


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
