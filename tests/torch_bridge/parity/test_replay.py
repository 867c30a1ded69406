import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import funcsgd
import torch_bridge
from tests.torch_bridge.small_run import DATA, loss_fn, make, recorded

SGD = funcsgd.sgd(0.1, momentum=0.9, weight_decay=1e-2)
RECIPES = [
    {},
    {"momentum": 0.0, "weight_decay": 0.0},
    {"nesterov": True},
    {"dampening": 0.3, "maximize": True, "lr": 0.01},
]


def verdict(trace, tx, drive, **options):
    return torch_bridge.compare(trace, torch_bridge.replay(trace, tx, drive=drive, **options))


@pytest.mark.parametrize("options", RECIPES, ids=str)
def test_update_drive_is_bitwise(options):
    trace = recorded(**options)
    model, optimizer, *_ = make(**options)
    tx, _, _ = torch_bridge.from_torch(optimizer, named_parameters=model.named_parameters())
    report = verdict(trace, tx, "update")
    assert report.verdict == "bitwise", report
    assert {row.phase for row in report.rows} >= {"gradient", "learning_rate", "parameter"}


@pytest.mark.parametrize("drive", ["resync", "free"])
def test_a_correct_port_is_rounding(drive):
    report = verdict(recorded(), SGD, drive, loss_fn=loss_fn, data=DATA)
    assert report.verdict == "rounding", report
    assert {row.phase for row in report.rows} == {"loss", "gradient", "momentum", "learning_rate", "parameter"}


def test_optax_in_other_roundings_is_rounding_in_the_update_drive():
    tx = optax.chain(optax.add_decayed_weights(1e-2), optax.sgd(0.1, momentum=0.9))
    assert verdict(recorded(epochs=4), tx, "update").verdict == "rounding"


@pytest.mark.parametrize("drive", ["update", "resync", "free"])
@pytest.mark.parametrize(
    ("tx", "phase"),
    [
        (funcsgd.sgd(0.1, momentum=0.9, weight_decay=1.001e-2), "momentum"),
        (funcsgd.sgd(0.1, momentum=0.9001, weight_decay=1e-2), "momentum"),
        (funcsgd.sgd(0.10001, momentum=0.9, weight_decay=1e-2), "learning_rate"),
        (optax.chain(optax.add_decayed_weights(1e-2), optax.sgd(0.1, momentum=0.9, nesterov=True)), "parameter"),
    ],
    ids=["weight decay off by 0.1 %", "momentum off by 0.01 %", "learning rate off by 0.01 %", "other Nesterov"],
)
def test_small_faults_are_found_at_once(drive, tx, phase):
    report = verdict(recorded(), tx, drive, loss_fn=loss_fn, data=DATA)
    assert report.verdict == "diverged"
    assert report.divergence.phase == phase
    assert report.divergence.step <= 1


def test_resync_names_the_guilty_step_and_recovers():
    def late_fault(params, batch):  # the model's loss is wrong for one batch only, the one that holds example 0
        has_first = (batch[0] == DATA[0][0]).all(axis=1).any()
        return loss_fn(params, batch) * jnp.where(has_first, 1.01, 1.0)

    trace = recorded()
    (guilty, again) = (t for t in range(6) if 0 in trace.step(t)["data"])
    replayed = torch_bridge.replay(trace, SGD, drive="resync", loss_fn=late_fault, data=DATA)
    report = torch_bridge.compare(trace, replayed)
    assert (report.divergence.step, report.divergence.phase) == (guilty, "loss")
    limits = torch_bridge.Envelope.from_arrays(replayed.extra).limits()["loss"]
    off = np.abs(trace.steps["loss"] - replayed.steps["loss"]) > limits
    assert np.flatnonzero(off).tolist() == [guilty, again]


def test_layouts_and_names_are_translated():
    trace = recorded()
    params = {
        "one": {"kernel": np.zeros((6, 5), np.float32), "bias": np.zeros(5, np.float32)},
        "two": {"kernel": np.zeros((5, 3), np.float32), "bias": np.zeros(3, np.float32)},
    }
    weights = torch_bridge.linear_weights(params, {"0": "one", "2": "two"})

    def flax_like(p, batch):
        x, y = batch
        logits = jnp.tanh(x @ p["one"]["kernel"] + p["one"]["bias"]) @ p["two"]["kernel"] + p["two"]["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    assert verdict(trace, SGD, "update", weights=weights).verdict == "bitwise"
    assert verdict(trace, SGD, "free", weights=weights, loss_fn=flax_like, data=DATA).verdict == "rounding"


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
    assert verdict(recorder.trace(), SGD, "update").verdict == "bitwise"


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
    assert verdict(trace, tx, "update").verdict == "bitwise"
    assert verdict(trace, tx, "free", loss_fn=loss_fn, data=DATA).verdict == "rounding"
    changed = torch.optim.SGD([groups[0], {**groups[1], "lr": 0.51}], lr=0.1, momentum=0.9)
    other, _, _ = torch_bridge.from_torch(changed, named_parameters=model.named_parameters())
    report = verdict(trace, other, "update")
    assert (report.divergence.phase, report.divergence.name) == ("learning_rate", "1")


def test_a_step_function_that_reports_what_it_did():
    trace = recorded()
    start = {name: jnp.asarray(trace.initial[f"parameter/{name}"]) for name in trace.static["shapes"]}

    def step(state, batch):
        params, buffer, first = state
        loss, gradient = jax.value_and_grad(loss_fn)(params, batch)
        decayed = jax.tree.map(lambda g, p: g + 1e-2 * p, gradient, params)
        buffer = jax.tree.map(lambda b, g: jnp.where(first, g, 0.9 * b + g), buffer, decayed)
        params = jax.tree.map(lambda p, b: p - 0.1 * b, params, buffer)
        observed = {"loss": loss, "gradient": gradient, "weight_decay": decayed, "momentum": buffer}
        return (params, buffer, jnp.array(False)), observed | {"parameter": params}

    state = (start, jax.tree.map(jnp.zeros_like, start), jnp.array(True))
    replayed = torch_bridge.replay(trace, step=step, state=state, drive="free", data=DATA)
    report = torch_bridge.compare(trace, replayed)
    assert report.verdict == "rounding", report
    assert "weight_decay" in {row.phase for row in report.rows}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drive": "frei"}, "no drive 'frei': there are update, resync, free"),
        ({"drive": "free"}, "needs loss_fn="),
        ({"drive": "free", "loss_fn": loss_fn}, "need data="),
        ({"drive": "update", "shadows": 1}, "shadows must be at least 2"),
        ({"drive": "update", "tx": None}, "give either tx="),
        ({"drive": "resync", "tx": None, "step": lambda s, b: (s, {})}, "can only run free"),
    ],
)
def test_what_a_drive_lacks_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        torch_bridge.replay(recorded(epochs=1), **{"tx": SGD} | options)


def test_a_trace_without_indices_asks_for_batches():
    model, optimizer, criterion, loader = make()
    recorder = torch_bridge.record(model, optimizer, criterion=criterion)
    batches = []
    for x, y in loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
        batches.append((x.numpy(), y.numpy().astype(np.int32)))
    trace = recorder.trace()
    with pytest.raises(ValueError, match="which examples a step saw"):
        torch_bridge.replay(trace, SGD, drive="free", loss_fn=loss_fn, data=DATA)
    assert verdict(trace, SGD, "free", loss_fn=loss_fn, data=lambda t, _: batches[t]).verdict == "rounding"
