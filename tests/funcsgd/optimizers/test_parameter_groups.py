"""from_groups takes what torch.optim.SGD takes and refuses what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import funcsgd
from tests.support.torch_runs import by_step, differing_bits, random_run


def test_two_steps_by_hand():
    groups = [{"params": [np.float32([4])]}, {"params": [np.float32([4])], "lr": 1.0, "momentum": 0.5}]
    params, tx, names = funcsgd.from_groups(funcsgd.sgd, groups, lr=0.5)
    assert names == (("0",), ("1",))
    state = tx.init(params)
    expected = [(3.0, 2.0), (2.0, -1.0)]  # "0": 4 - 1 - 1; "1": 4 - 2, then - (0.5 * 2 + 2)
    for pair in expected:
        updates, state = tx.update({"0": jnp.array([2.0]), "1": jnp.array([2.0])}, state, params)
        params = optax.apply_updates(params, updates)
        assert (float(params["0"][0]), float(params["1"][0])) == pair


def test_names_and_order_are_torchs():
    arrays = {name: jnp.full(2, i) for i, name in enumerate(["weight", "0", "bias"])}
    made = funcsgd.from_groups(
        funcsgd.sgd, [{"params": [("weight", arrays["weight"])]}, {"params": list(arrays.items())[1:]}]
    )
    assert made.groups == (("weight",), ("0", "bias"))
    assert list(made.params) == list(arrays)
    assert funcsgd.from_groups(funcsgd.sgd, arrays).groups == (("weight", "0", "bias"),)
    assert funcsgd.from_groups(funcsgd.sgd, iter(arrays.values())).groups == (("0", "1", "2"),)
    assert float(funcsgd.get_learning_rate(made.tx.init(made.params))[0]) == np.float32(1e-3)


def test_a_parameter_may_be_called_0():
    groups = [{"params": [("0", jnp.ones(1))]}, {"params": [("1", jnp.ones(1))]}]
    torch.optim.SGD([{"params": [(n, torch.ones(1)) for n, _ in group["params"]]} for group in groups])
    assert funcsgd.from_groups(funcsgd.sgd, groups).groups == (("0",), ("1",))


@pytest.mark.parametrize(
    "given",
    [lambda p: [], lambda p: [1], lambda p: [p, "w"], lambda p: p, lambda p: [{"params": {"a set"}}]],
    ids=["empty", "number", "string", "bare", "set in a group"],
)
def test_other_torch_errors(given):
    with pytest.raises((ValueError, TypeError)) as theirs:
        torch.optim.SGD(given(torch.zeros(1)))
    with pytest.raises(theirs.type, match=str(theirs.value).split(", but got")[0]):
        funcsgd.from_groups(funcsgd.sgd, given(jnp.zeros(1)))


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ([{"params": []}], ValueError, "group without parameters"),
        ([{"params": [np.ones(1)], "beta": 1}], TypeError, "unknown option 'beta': sgd takes learning_rate, momentum"),
        ([{"params": [np.ones(1)], "momentum": -1}], ValueError, "Invalid momentum value: -1"),
        ([("w", np.ones(1)), ("w", np.ones(1))], ValueError, "two parameters are called 'w'"),
    ],
)
def test_what_only_we_refuse(groups, error, message):
    with pytest.raises(error, match=message):
        funcsgd.from_groups(funcsgd.sgd, groups)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("skip", [False, True], ids=["every gradient", "a gradient of None"])
def test_parity(x64, dtype, skip):
    shapes = ((33,), (7,), (64, 33))
    params, gradients = random_run(dtype, shapes, steps=20)
    first = {"weight_decay": 0.01, "dampening": 0.1}
    options = [first, {"lr": 1.0, "momentum": 0.0}, {"nesterov": True, "maximize": True}]
    tensors = [torch.tensor(p, requires_grad=True) for p in params]
    optimizer = torch.optim.SGD([{"params": t, **o} for t, o in zip(tensors, options, strict=True)], 0.1, momentum=0.9)
    ours, tx, _ = funcsgd.from_groups(
        funcsgd.sgd, [{"params": p, **o} for p, o in zip(params, options, strict=True)], 0.1, momentum=0.9
    )
    assert isinstance(ours["0"], jax.Array)

    @jax.jit
    def step(params, state, g):
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), state

    state = tx.init(ours)
    for k, of_step in enumerate(by_step(gradients)):
        of_step = [None if skip and k == i + 1 else g for i, g in enumerate(of_step)]
        for tensor, g in zip(tensors, of_step, strict=True):
            tensor.grad = None if g is None else torch.tensor(g)
        optimizer.step()
        ours, state = step(ours, state, dict(zip(ours, of_step, strict=True)))
        assert differing_bits(ours.values(), [t.detach().numpy() for t in tensors]) == 0
