import equinox
import jax
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

from torch_bridge import map_weights
from torch_bridge.weights import require_same_training, same_weights


def bits(named):
    return {name: np.asarray(array).tobytes() for name, array in named.items()}


def test_by_hand():
    weights = map_weights({"fc.weight": np.zeros((1, 2), np.float32)}, {"d": {"kernel": np.zeros((2, 1), np.float32)}})
    assert weights.to_jax({"fc.weight": np.float32([[1, 2]])})["d"]["kernel"].tolist() == [[1], [2]]
    assert weights.to_torch({"d": {"kernel": np.float32([[3], [4]])}})["fc.weight"].tolist() == [[3, 4]]


def test_missing_leaves():
    weights = same_weights({"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)})
    assert weights.to_jax({"a": np.ones(2, np.float32)}, partial=True)["b"] is None
    assert list(weights.to_torch({"a": np.ones(2), "b": None})) == ["a"]
    with pytest.raises(KeyError, match="no torch parameter 'b'"):
        weights.to_jax({"a": np.ones(2, np.float32)})


def test_shapes_that_do_not_fit():
    weights = map_weights({"fc.weight": np.zeros((1, 2), np.float32)}, {"d": {"kernel": np.zeros((2, 1), np.float32)}})
    with pytest.raises(ValueError, match=r"'fc.weight' has shape \(2, 1\), but 'd/kernel' is made of \(1, 2\)"):
        weights.to_jax({"fc.weight": np.zeros((2, 1), np.float32)})
    with pytest.raises(ValueError, match=r"'d/kernel' has shape \(1, 2\), but it was mapped as \(2, 1\)"):
        weights.to_torch({"d": {"kernel": np.zeros((1, 2))}})


def test_float64_is_not_cut_in_silence():
    model = nn.Linear(2, 1).double()
    weights = map_weights(model, {"kernel": np.zeros((2, 1)), "bias": np.zeros(1)})
    with pytest.raises(ValueError, match=r"'weight' is float64, which JAX would cut to float32: set .*jax_enable_x64"):
        weights.to_jax(model)


def test_bfloat16_and_signed_zeros_come_back():
    model = nn.Linear(3, 2).to(torch.bfloat16)
    with torch.no_grad():
        model.bias.copy_(torch.tensor([-0.0, float("nan")]))
    weights = map_weights(model, {"kernel": np.zeros((3, 2)), "bias": np.zeros(2)})
    back = weights.state_dict(weights.to_jax(model))
    assert all(
        torch.equal(back[name].view(torch.int16), tensor.view(torch.int16))
        for name, tensor in model.state_dict().items()
    )


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.wte.weight


def test_a_tied_tensor_and_one_leaf():
    model = Tied()
    weights = map_weights(model, {"embed": {"embedding": np.zeros((5, 3))}})
    assert "one tensor in torch: head.weight is wte.weight" in str(weights)
    back = weights.state_dict(weights.to_jax(model))
    assert list(back) == ["wte.weight", "head.weight"]
    assert list(weights.to_torch(weights.to_jax(model))) == ["wte.weight"]  # as a trace and an optimizer have it
    require_same_training(weights)


def test_a_tied_tensor_and_two_leaves():
    model = Tied()
    weights = map_weights(model, {"embed": {"embedding": np.zeros((5, 3))}, "out": {"kernel": np.zeros((3, 5))}})
    assert "two leaves in JAX for one tensor in torch: wte.weight" in str(weights)
    moved = weights.to_jax(model)
    assert np.array_equal(moved["out"]["kernel"], moved["embed"]["embedding"].T)
    assert torch.equal(weights.state_dict(moved)["head.weight"], model.wte.weight)
    moved["out"]["kernel"] = moved["out"]["kernel"].at[0, 0].add(1)
    with pytest.raises(ValueError, match=r"torch has one tensor, 'wte.weight', where JAX has two leaves"):
        weights.to_torch(moved)
    with pytest.raises(ValueError, match="they would train apart"):
        require_same_training(weights)


def test_a_leaf_under_two_names_in_nnx_is_one():
    class Shared(nnx.Module):
        def __init__(self):
            self.a = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
            self.b = self.a

    torch_model = nn.ModuleDict({"fc": nn.Linear(4, 4)})
    moved = map_weights(torch_model, Shared()).to_jax(torch_model)
    assert moved.a.kernel is moved.b.kernel
    assert np.array_equal(moved.b.kernel[...], torch_model["fc"].weight.detach().T)


def test_what_is_no_weight_stays():
    model = nnx.Sequential(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), nnx.Dropout(0.5, rngs=nnx.Rngs(7)))
    weights = map_weights(nn.Linear(2, 2), model)
    moved = weights.to_jax(nn.Linear(2, 2))
    assert "in JAX, no weights: layers/1/rngs/count, layers/1/rngs/key" in str(weights)
    assert moved.layers[1].rngs.key[...] == model.layers[1].rngs.key[...]


def test_buffers_without_a_leaf_are_kept():
    model = nn.BatchNorm1d(3)
    model(torch.randn(4, 3))
    weights = map_weights(model, {"scale": np.ones(3, np.float32), "bias": np.zeros(3, np.float32)})
    assert "in torch only: running_mean, running_var, num_batches_tracked" in str(weights)
    back = weights.state_dict(weights.to_jax(model))
    assert all(torch.equal(back[name], tensor) for name, tensor in model.state_dict().items())


def test_a_sum_goes_back_to_the_first_bias():
    model = nn.LSTMCell(2, 3)
    cell = equinox.nn.LSTMCell(2, 3, key=jax.random.key(0))
    weights = map_weights(model, cell)
    assert "back to torch: bias_ih gets the whole sum, bias_hh zeros" in str(weights)
    moved = weights.to_jax(model)
    assert np.array_equal(moved.bias, (model.bias_ih + model.bias_hh).detach())
    back = weights.state_dict(moved)
    assert np.array_equal(back["bias_ih"], moved.bias)
    assert not back["bias_hh"].any()
    again = weights.to_jax(back)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(moved), strict=True))
    with pytest.raises(ValueError, match=r"'bias' is the sum bias_ih \+ bias_hh: torch trains both"):
        require_same_training(weights)


def test_equinox_gru_adds_two_gates_of_three():
    model, cell = nn.GRUCell(2, 3), equinox.nn.GRUCell(2, 3, key=jax.random.key(0))
    weights = map_weights(model, cell)
    assert "bias_ih[0:6] + bias_hh[0:6], bias_ih[6:9]" in str(weights)
    moved = weights.to_jax(model)
    both = (model.bias_ih + model.bias_hh).detach()
    assert np.array_equal(moved.bias, torch.cat([both[:6], model.bias_ih.detach()[6:]]))
    assert np.array_equal(moved.bias_n, model.bias_hh.detach()[6:])


def test_nnx_gru_is_refused_for_the_bias_it_lacks():
    with pytest.raises(ValueError, match=r"nnx.GRUCell has no bias in the state's part of the new gate"):
        map_weights(nn.GRUCell(2, 3), nnx.GRUCell(2, 3, rngs=nnx.Rngs(0)))


def test_equinox_statistics_that_are_divided_by_a_counter(x64):
    model, state = equinox.nn.make_with_state(equinox.nn.BatchNorm)(3, "batch", mode="batch")
    torch_model = nn.BatchNorm1d(3).double()
    weights = map_weights(torch_model, (model, state))
    moved = weights.to_jax(torch_model)
    assert int(moved[1].get(moved[0].batch_counter)) == 0
    weights.state_dict(moved)
    trained = moved[0], moved[1].set(moved[0].batch_counter, moved[1].get(moved[0].batch_counter) + 3)
    with pytest.raises(ValueError, match="divides what it keeps by 1 - momentum"):
        weights.state_dict(trained)


def test_prefixes_of_wrappers_are_left_out():
    class DataParallel(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    weights = map_weights(DataParallel(nn.Linear(2, 1)), {"kernel": np.zeros((2, 1)), "bias": np.zeros(1)})
    assert [pair.tensors for pair in weights.pairs] == [("weight",), ("bias",)]


def test_there_and_back_is_the_same_in_every_bit():
    model = nn.MultiheadAttention(6, 2, kdim=4, vdim=5)
    attention = nnx.MultiHeadAttention(2, 6, in_kv_features=4, decode=False, rngs=nnx.Rngs(0))
    attention.value = nnx.LinearGeneral(5, (2, 3), rngs=nnx.Rngs(0))
    weights = map_weights(model, attention)
    assert bits(weights.to_torch(weights.to_jax(model))) == bits(
        {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    )
