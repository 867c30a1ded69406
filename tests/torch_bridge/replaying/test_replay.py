import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import funcsgd
import torch_bridge
from tests.support.small_run import DATA, loss_fn, make, recorded

SGD = funcsgd.sgd(0.1, momentum=0.9, weight_decay=1e-2)
PHASES = {"loss", "gradient", "weight_decay", "momentum_buffer", "learning_rate", "parameter"}
RECIPES = [
    {},
    {"momentum": 0.0, "weight_decay": 0.0},
    {"nesterov": True},
    {"dampening": 0.3, "maximize": True, "lr": 0.01},
]


@pytest.fixture(scope="module")
def trace():
    return recorded()


def compared(trace, tx, drive, **options):
    return torch_bridge.compare(trace, torch_bridge.replay(trace, tx, drive=drive, **options))


@pytest.mark.parametrize("options", RECIPES, ids=str)
def test_update_drive_is_bitwise(options):
    trace = recorded(**options)
    model, optimizer, *_ = make(**options)
    tx, _, _ = torch_bridge.from_torch(optimizer, named_parameters=model.named_parameters())
    comparison = compared(trace, tx, "update")
    assert comparison.identical, comparison
    assert {row.phase for row in comparison.rows} >= {"gradient", "learning_rate", "parameter"}


@pytest.mark.parametrize("drive", ["resync", "free"])
def test_a_correct_port_differs_in_some_bits_from_equal_and_from_its_own_states(trace, drive):
    comparison = compared(trace, SGD, drive, loss_fn=loss_fn, data=DATA)
    assert {row.phase for row in comparison.rows} == PHASES
    assert all(row.worst is None or abs(row.worst.reference - row.worst.candidate) < 1e-6 for row in comparison.rows)


@pytest.mark.thorough
def test_shadows_measure_a_spread_that_holds_a_correct_run(trace):
    replayed = torch_bridge.replay(trace, SGD, drive="free", loss_fn=loss_fn, data=DATA, shadows=8)
    spreads = {row.phase: row.spread for row in torch_bridge.compare(trace, replayed).rows}
    assert set(spreads) == PHASES
    assert 0 < spreads["parameter"] < 1
    assert "shadows" not in replayed.static
    assert all(row.spread is None for row in compared(trace, SGD, "free", loss_fn=loss_fn, data=DATA).rows)


def test_resync_starts_each_step_from_torchs_state(trace):
    def late_fault(params, batch):  # the model's loss is wrong for one batch only, the one that holds example 0
        has_first = (batch[0] == DATA[0][0]).all(axis=1).any()
        return loss_fn(params, batch) * jnp.where(has_first, 1.01, 1.0)

    guilty = [t for t in range(6) if 0 in trace.step(t)["data"]]
    replayed = torch_bridge.replay(trace, SGD, drive="resync", loss_fn=late_fault, data=DATA)
    off = np.abs(trace.steps["loss"] / replayed.steps["loss"] - 1) > 1e-4
    assert np.flatnonzero(off).tolist() == guilty
    free = torch_bridge.replay(trace, SGD, drive="free", loss_fn=late_fault, data=DATA)
    assert (np.abs(trace.steps["loss"] / free.steps["loss"] - 1)[guilty[0] :] > 1e-5).all()


def test_another_order_is_what_the_free_run_takes(trace):
    order = [trace.step(t)["data"] for t in (3, 4, 5, 0, 1, 2)]
    options = {"loss_fn": loss_fn, "data": DATA, "order": order}
    other = torch_bridge.replay(trace, SGD, drive="free", **options)
    assert abs(other.steps["loss"][0] - trace.steps["loss"][0]) > 1e-3
    assert compared(trace, SGD, "resync", **options) == compared(trace, SGD, "resync", loss_fn=loss_fn, data=DATA)


def test_progress_is_called_after_each_step(trace):
    calls = []
    torch_bridge.replay(trace, SGD, drive="update", progress=lambda: calls.append(1))
    assert len(calls) == trace.n_steps


def test_layouts_and_names_are_translated(trace):
    params = {
        "one": {"kernel": np.zeros((6, 5), np.float32), "bias": np.zeros(5, np.float32)},
        "two": {"kernel": np.zeros((5, 3), np.float32), "bias": np.zeros(3, np.float32)},
    }
    weights = torch_bridge.map_weights(trace, params)

    def flax_like(p, batch):
        x, y = batch
        logits = jnp.tanh(x @ p["one"]["kernel"] + p["one"]["bias"]) @ p["two"]["kernel"] + p["two"]["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    assert compared(trace, SGD, "update", weights=weights).identical
    report = torch_bridge.check(trace, SGD, weights=weights, loss_fn=flax_like, data=DATA)
    assert report.verdict == "same function", report


def test_gradients_of_none_are_skipped_as_in_torch():
    model, optimizer, criterion, loader = make()
    recorder = torch_bridge.record(model, optimizer)
    x, y = next(iter(loader))
    for absent in ("0.bias", None, "2.weight", "0.bias", None):
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        for name, parameter in model.named_parameters():
            if name == absent:
                parameter.grad = None
        optimizer.step()
    assert compared(recorder.trace(), SGD, "update").identical


@pytest.mark.thorough
def test_parameter_groups_are_replayed():
    torch.manual_seed(0)
    model = make()[0]
    groups = [
        {"params": [model[0].weight, model[2].weight], "weight_decay": 0.1},
        {"params": [model[0].bias, model[2].bias], "lr": 0.5, "momentum": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    _, _, criterion, loader = make()
    tx, _, _ = torch_bridge.from_torch(optimizer, named_parameters=model.named_parameters())
    recorder = torch_bridge.record(model, optimizer, criterion=criterion, loader=loader)
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    trace = recorder.trace()
    report = torch_bridge.check(trace, tx, loss_fn=loss_fn, data=DATA)
    assert report.verdict == "same function", report
    assert report.drives["update"].identical
    changed = torch.optim.SGD([groups[0], {**groups[1], "lr": 0.51}], lr=0.1, momentum=0.9)
    other, _, _ = torch_bridge.from_torch(changed, named_parameters=model.named_parameters())
    report = torch_bridge.check(trace, other)
    assert report.verdict == "different"
    assert (report.difference.step, report.difference.phase, report.difference.name) == (0, "learning_rate", "1")


def test_a_step_function_that_reports_what_it_did(trace):
    start = {name: jnp.asarray(trace.initial[f"parameter/{name}"]) for name in trace.static["shapes"]}

    def step(state, batch):
        params, buffer, first = state
        loss, gradient = jax.value_and_grad(loss_fn)(params, batch)
        decayed = jax.tree.map(lambda g, p: g + 1e-2 * p, gradient, params)
        buffer = jax.tree.map(lambda b, g: jnp.where(first, g, 0.9 * b + g), buffer, decayed)
        params = jax.tree.map(lambda p, b: p - 0.1 * b, params, buffer)
        observed = {"loss": loss, "gradient": gradient, "weight_decay": decayed, "momentum_buffer": buffer}
        return (params, buffer, jnp.array(False)), observed | {"parameter": params}

    state = (start, jax.tree.map(jnp.zeros_like, start), jnp.array(True))
    replayed = torch_bridge.replay(trace, step=step, state=state, drive="free", data=DATA)
    comparison = torch_bridge.compare(trace, replayed)
    assert {row.phase for row in comparison.rows} == {
        "loss",
        "gradient",
        "weight_decay",
        "momentum_buffer",
        "parameter",
    }
    for name, value in start.items():
        np.testing.assert_allclose(
            replayed.value(f"parameter/{name}", 5), trace.value(f"parameter/{name}", 5), rtol=1e-4
        )
        assert not np.array_equal(replayed.value(f"parameter/{name}", 5), value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drive": "frei"}, "no drive 'frei': there are update, resync, free"),
        ({"drive": "free"}, "needs loss_fn="),
        ({"drive": "free", "loss_fn": loss_fn}, "need data="),
        ({"drive": "update", "shadows": 1}, "shadows must be 0, or at least 2"),
        ({"drive": "update", "tx": None}, "give either tx="),
        ({"drive": "resync", "tx": None, "step": lambda s, b: (s, {})}, "can only run free"),
    ],
)
def test_what_a_drive_lacks_is_named(trace, options, message):
    with pytest.raises(ValueError, match=message):
        torch_bridge.replay(trace, **{"tx": SGD} | options)


def test_a_trace_without_indices_needs_batches():
    model, optimizer, criterion, loader = make()
    recorder = torch_bridge.record(model, optimizer, criterion=criterion)
    batches = []
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
        batches.append((x.numpy(), y.numpy().astype(np.int32)))
    trace = recorder.trace()
    with pytest.raises(ValueError, match="does not hold the examples of each step"):
        torch_bridge.replay(trace, SGD, drive="free", loss_fn=loss_fn, data=DATA)
    report = torch_bridge.check(trace, SGD, loss_fn=loss_fn, data=lambda t, _: batches[t])
    assert report.verdict == "same function", report
