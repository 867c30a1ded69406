"""add_momentum is torch's momentum_buffer: undamped at first, at rest without momentum or gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import funcsgd
from tests.support.torch_runs import differing_bits, legal_flags, name_of, random_run

ON = [flags for flags in legal_flags() if flags["momentum"] and not flags["weight_decay"] and not flags["maximize"]]


def outputs(tx, gradients, params):
    """What each update returns, and the last state."""
    update, state, outs = jax.jit(tx.update), tx.init(params), []
    for g in gradients:
        out, state = update(g, state)
        outs.append(out)
    return outs, state


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [4.0, 6.0]),  # 4, then 0.5 * 4 + 4
        ({"dampening": 0.75}, [4.0, 3.0]),  # undamped at first, then 0.5 * 4 + 0.25 * 4
        ({"nesterov": True}, [6.0, 7.0]),  # 4 + 0.5 * 4, then 4 + 0.5 * 6
    ],
)
def test_two_steps_by_hand(options, expected):
    outs, _ = outputs(funcsgd.add_momentum(0.5, **options), [jnp.array([4.0])] * 2, jnp.array([0.0]))
    assert [float(out[0]) for out in outs] == expected


@pytest.mark.parametrize("zero", [0, 0.0, jnp.float32(0), lambda count: 0.0])
def test_without_momentum_gradients_pass_and_the_buffer_is_unchanged(zero):
    g = np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0])
    tx = funcsgd.add_momentum(zero)
    outs, state = outputs(tx, [g, -g], g)
    assert differing_bits(outs, [g, -g]) == 0
    assert int(state.count) == 2
    assert not any(state.started)
    assert not state.momentum_buffer.any()


def test_a_buffer_resumes_as_old_as_it_is():
    tx = funcsgd.add_momentum(lambda count: jnp.array([0.5, 0.0, 0.5])[count])
    outs, _ = outputs(tx, [jnp.array([4.0]), jnp.array([100.0]), jnp.array([1.0])], jnp.array([0.0]))
    assert [float(out[0]) for out in outs] == [4.0, 100.0, 3.0]  # 0.5 * 4 + 1: the 100 never entered


def test_a_late_leaf_starts_undamped_and_a_leaf_without_gradient_is_unchanged():
    tx = funcsgd.add_momentum(0.5, dampening=0.5)
    one = jnp.array([1.0])
    gradients = [{"a": one, "b": None}, {"a": None, "b": one}, {"a": one, "b": one}]
    outs, state = outputs(tx, gradients, {"a": one, "b": one})
    assert [out["b"] and float(out["b"][0]) for out in outs] == [None, 1.0, 1.0]  # 1, then 0.5 * 1 + 0.5 * 1
    assert [out["a"] and float(out["a"][0]) for out in outs] == [1.0, None, 1.0]
    assert [bool(x) for x in state.started] == [True, True]


def test_the_buffer_is_a_copy_of_the_parameters_tree():
    params = {"w": np.ones((2, 3), np.float32), "b": [np.float16(1), jnp.ones(4, jnp.bfloat16)]}
    state = funcsgd.add_momentum(0.9).init(params)
    assert jax.tree.structure(state.momentum_buffer) == jax.tree.structure(params)
    described = [(b.shape, b.dtype, b.weak_type) for b in jax.tree.leaves(state.momentum_buffer)]
    assert described == [(np.shape(p), p.dtype, False) for p in jax.tree.leaves(params)]
    assert [x.shape for x in state.started] == [()] * 3


def test_an_empty_tree():
    tx = funcsgd.add_momentum(0.9)
    updates, state = tx.update({}, tx.init({}))
    assert (updates, int(state.count)) == ({}, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-0.5,), "Invalid momentum value: -0.5"),
        ((jnp.ones(2),), "Tensor momentum must be 1-element"),
        ((0.9, jnp.ones(2)), "Tensor dampening must be 1-element"),
        ((0.0, 0.0, True), "Nesterov momentum requires a momentum and zero dampening"),
        ((0.9, 0.1, True), "Nesterov momentum requires a momentum and zero dampening"),
    ],
)
def test_wrong_values_have_torchs_messages(arguments, message):
    with pytest.raises(ValueError, match=message):
        funcsgd.add_momentum(*arguments)


@pytest.mark.parametrize("form", ["number", "array", "schedule"])
@pytest.mark.parametrize("flags", ON, ids=name_of)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parity_of_the_buffer(x64, dtype, flags, form):
    (p,), (gradients,) = random_run(dtype, shapes=((4099,),), steps=20)
    parameter = torch.tensor(p, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], **flags)
    for g in gradients:
        parameter.grad = torch.tensor(g)
        optimizer.step()
    value = flags["momentum"]
    momentum = {"number": value, "array": jnp.asarray(value, dtype), "schedule": lambda count: value}[form]
    _, state = outputs(funcsgd.add_momentum(momentum, flags["dampening"], flags["nesterov"]), gradients, p)
    assert differing_bits([state.momentum_buffer], [optimizer.state[parameter]["momentum_buffer"].numpy()]) == 0


def test_dampening_is_subtracted_in_float64_for_a_number_and_in_float32_for_an_array():
    dampening = next(d for d in np.linspace(0, 1, 1000) if np.float32(1 - d) != 1 - np.float32(d))
    gradients = np.float32([[1.0], [1.0]])
    for form, share in (
        (float(dampening), np.float32(1 - dampening)),
        (jnp.float32(dampening), 1 - np.float32(dampening)),
    ):
        outs, _ = outputs(funcsgd.add_momentum(0.5, form), gradients, gradients[0])
        assert outs[1] == np.float32(0.5) + share
