import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import funcsgd
import torch_bridge
from tests.support.sampling import one_in
from torch_bridge.translate.optimizers.sgd import SGD
from torch_bridge.translate.states import torch_state, with_torch_state


def tensors(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return {
        n: torch.randn(s, generator=generator, dtype=dtype).requires_grad_() for n, s in (("w", (3, 5)), ("b", (5,)))
    }


def torch_step(optimizer, parameters, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    gradients = {name: jnp.asarray(parameter.grad.numpy()) for name, parameter in parameters.items()}
    optimizer.step()
    return gradients


def same_after(optimizer, parameters, translated, steps=5):
    tx, params, state = translated
    for seed in range(steps):
        gradients = torch_step(optimizer, parameters, seed)

        @jax.jit
        def step(params, state, gradients):
            updates, state = tx.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        params, state = step(params, state, gradients)
    return {n: np.asarray(p).tobytes() for n, p in params.items()} == {
        n: p.detach().numpy().tobytes() for n, p in parameters.items()
    }


@pytest.mark.parametrize("dtype", one_in(2, [torch.float32, torch.float64]))
@pytest.mark.parametrize("before", one_in(2, [3, 0]))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.9, "dampening": 0.5},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True},
        {"lr": torch.tensor(0.1), "weight_decay": torch.tensor(0.1, dtype=torch.float64)},
    ],
    ids=str,
)
def test_goes_on_where_torch_stood(x64, dtype, before, options):
    parameters = tensors(dtype)
    optimizer = torch.optim.SGD(parameters.values(), **options)
    for seed in range(before):
        torch_step(optimizer, parameters, 100 + seed)
    assert same_after(optimizer, parameters, torch_bridge.from_torch(optimizer, named_parameters=parameters.items()))


def test_groups_keep_their_hyperparameters_and_names(x64):
    parameters = tensors()
    groups = [
        {"params": [("w", parameters["w"])], "weight_decay": 0.1},
        {"params": [("b", parameters["b"])], "lr": 0.5, "momentum": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9)
    torch_step(optimizer, parameters, 9)
    translated = torch_bridge.from_torch(optimizer)
    assert [float(rate) for rate in funcsgd.get_learning_rate(translated.state)] == [0.01, 0.5]
    assert same_after(optimizer, parameters, translated)


def test_names_come_from_the_model_or_are_counted():
    parameters = tensors()
    optimizer = torch.optim.SGD(parameters.values(), lr=0.1)
    assert list(torch_bridge.from_torch(optimizer).params) == ["0", "1"]
    assert list(torch_bridge.from_torch(optimizer, named_parameters=parameters.items()).params) == ["w", "b"]
    with pytest.raises(ValueError, match=r"parameter 1 of the optimizer, shape \(5,\)"):
        torch_bridge.from_torch(optimizer, named_parameters=[("w", parameters["w"])])


def test_a_buffer_that_has_not_started_starts_undamped():
    parameters = tensors()
    optimizer = torch.optim.SGD(parameters.values(), lr=0.1, momentum=0.9, dampening=0.5)
    parameters["w"].grad = torch.ones(3, 5)
    optimizer.step()  # "b" had no gradient yet
    assert same_after(optimizer, parameters, torch_bridge.from_torch(optimizer, named_parameters=parameters.items()))


def test_what_has_no_equivalent_is_refused():
    parameters = tensors()
    with pytest.raises(TypeError, match="Adafactor has no rule here"):
        torch_bridge.from_torch(torch.optim.Adafactor(parameters.values()))
    with pytest.warns(UserWarning, match="duplicate"):
        twice = torch.optim.SGD([parameters["w"], parameters["w"]], lr=0.1)
    with pytest.raises(ValueError, match="stands twice"):
        torch_bridge.from_torch(twice)
    optimizer = torch.optim.SGD(parameters.values(), lr=0.1)
    optimizer.param_groups[0]["lr"] = -1.0  # torch does not look; funcsgd does
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        torch_bridge.from_torch(optimizer)


@pytest.mark.parametrize(
    "tx",
    [
        funcsgd.sgd(0.1, momentum=0.9),
        optax.sgd(0.1, momentum=0.9),
        optax.partition({0: funcsgd.sgd(0.1, momentum=0.9), 1: optax.sgd(0.1, momentum=0.5)}, {"a": 0, "b": 1}),
        optax.masked(funcsgd.add_momentum(0.9), {"a": True, "b": False}),
    ],
    ids=["funcsgd", "optax", "partition", "masked"],
)
def test_buffers_are_written_and_read_in_any_state(tx):
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    state = with_torch_state(tx.init(params), params, SGD, {"momentum_buffer": {"a": jnp.full(2, 7.0), "b": None}})
    found = torch_state(state, params, SGD)
    assert found["momentum_buffer"]["a"].tolist() == [7, 7]
    assert bool(found["started"]["a"])
    assert jax.tree.structure(state) == jax.tree.structure(tx.init(params))


def test_a_state_without_momentum_has_no_buffers():
    params = {"a": jnp.ones(2)}
    assert torch_state(optax.adam(0.1).init(params), params, SGD) == {}
