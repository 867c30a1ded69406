from itertools import pairwise

import jax
import numpy as np
import pytest
import torch
from flax import linen
from torch import nn

from tests.torch_bridge.weights import linen_models
from tests.torch_bridge.weights.torch_models import MODELS, trained
from torch_bridge import map_weights


def mlp(*widths):
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(i, o) for i, o in pairwise(widths)))


def dense(i, o, kernel="kernel", bias="bias"):
    return {kernel: np.zeros((i, o), np.float32), bias: np.zeros(o, np.float32)}


def places(weights):
    """torch's module -> JAX's path."""
    return dict(weights.layers)


def shuffled(tree, order):
    """The layers of a dict under other layers' names."""
    return {name: tree[other] for name, other in zip(tree, order, strict=True)}


def test_two_layers_of_one_shape_without_names_or_values_are_refused():
    with pytest.raises(ValueError, match="cannot be distinguished") as caught:
        map_weights(mlp(4, 4, 4), {"a": dense(4, 4), "b": dense(4, 4)})
    message = str(caught.value)
    assert "0 (Linear: weight (4, 4), bias (4,)) may be a or b" in message
    assert "1 (Linear: weight (4, 4), bias (4,)) may be a or b" in message
    assert "overrides={'0': 'a'}" in message
    assert places(map_weights(mlp(4, 4, 4), {"a": dense(4, 4), "b": dense(4, 4)}, overrides={"0": "b"})) == {
        "0": "b", "1": "a",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("torch_names", "jax_names"),
    [
        (["0", "2"], ["dense_0", "dense_1"]),
        (["0", "2"], ["layers/1", "layers/3"]),
        (["fc1", "fc2"], ["fc_0", "fc_1"]),
        (["fc9", "fc10"], ["linear_9", "linear_10"]),
        (["encoder.fc", "decoder.fc"], ["enc/dense", "dec/dense"]),
        (["group_fc", "layer_norm"], ["gn", "ln"]),
        (["q_proj", "k_proj", "v_proj", "out_proj"], ["query", "key", "value", "out"]),
        (["blocks.0.fc1", "blocks.0.fc2", "blocks.1.fc1", "blocks.1.fc2", "head"],
         ["Block_0/fc_0", "Block_0/fc_1", "Block_1/fc_0", "Block_1/fc_1", "Dense_0"]),
        (["features.0", "features.3", "classifier"], ["conv_0", "conv_1", "head"]),
    ],
)  # fmt: skip
def test_names_tell(torch_names, jax_names):
    state, params = {}, {}
    for name in torch_names:
        state |= {f"{name}.weight": np.zeros((4, 4), np.float32), f"{name}.bias": np.zeros(4, np.float32)}
    for name in reversed(jax_names):
        inner = params
        for part in name.split("/"):
            inner = inner.setdefault(part, {})
        inner |= dense(4, 4, "weight")
    assert places(map_weights(state, params)) == dict(zip(torch_names, jax_names, strict=True))


@pytest.mark.parametrize(
    ("torch_names", "jax_names"),
    [
        (["0", "2"], ["a", "b"]),
        (["0", "2"], ["Dense_0", "Dense_1"]),
        (["first", "last"], ["Dense_0", "Dense_1"]),
        (["bn1", "bn2", "downsample.1"], ["Dense_0", "Dense_1", "Dense_2"]),
        (["0", "1", "2"], ["x_0", "x_1", "y"]),
        (["enc.0", "enc.1", "mid"], ["foo_0", "foo_1", "bar"]),
    ],
)
def test_names_that_do_not_tell_are_refused(torch_names, jax_names):
    state, params = {}, {}
    for name in torch_names:
        state |= {f"{name}.weight": np.zeros((4, 4), np.float32), f"{name}.bias": np.zeros(4, np.float32)}
    with pytest.raises(ValueError, match="cannot be distinguished"):
        map_weights(state, params | {name: dense(4, 4, "weight") for name in jax_names})


def test_linen_numbers_layers_as_they_are_made():
    class Nested(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(4)(linen.relu(linen.Dense(4)(x)))  # the outer one is Dense_0

    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    params = jax.eval_shape(Nested().init, jax.random.key(0), x)
    with pytest.raises(ValueError, match="linen numbers layers in the order in which they are made"):
        map_weights(model, params)
    moved = map_weights(model, params, overrides={"0": "Dense_1"}).to_jax(model)
    with torch.no_grad():
        np.testing.assert_allclose(Nested().apply(moved, x), model(torch.tensor(x)), rtol=1e-5, atol=1e-6)


def test_values_tell_against_names():
    model = mlp(4, 4, 4, 4)
    right = map_weights(model, {f"layer_{i}": dense(4, 4) for i in range(3)}).to_jax(model)
    weights = map_weights(model, shuffled(right, ["layer_2", "layer_0", "layer_1"]))
    assert places(weights) == {"0": "layer_1", "1": "layer_2", "2": "layer_0"}
    assert {pair.by for pair in weights.pairs} == {"values"}


@pytest.mark.parametrize("name", ["gpt", "resnet", "norms"])
def test_shuffled_names_map_by_value(name, x64):
    model, x = trained(name)
    variables = jax.eval_shape(lambda: linen_models.port(name, x.numpy())[0])  # shapes alone
    right = map_weights(model, variables, overrides=linen_models.OVERRIDES.get(name)).to_jax(model)
    order = list(right["params"])
    turned = {collection: tree for collection, tree in right.items()}
    for collection, tree in right.items():
        to = {old: f"z{(order.index(old) * 7 + 3) % 101}x" for old in tree}
        turned[collection] = {to[old]: tree[old] for old in sorted(tree, key=to.__getitem__)}
    weights = map_weights(model, turned)
    moved = weights.to_jax(model)
    assert jax.tree.all(jax.tree.map(np.array_equal, moved, turned))
    assert {pair.by for pair in weights.pairs} <= {"values", "shape", "neighbours"}


def test_clones_have_one_value_and_are_told_by_names():
    layer = nn.Linear(4, 4)
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(2)))
    for each in model:
        each.load_state_dict(layer.state_dict())
    params = {f"layers_{i}": dense(4, 4) for i in range(2)}
    moved = map_weights(model, params).to_jax(model)
    assert places(map_weights(model, moved)) == {"0": "layers_0", "1": "layers_1"}
    with pytest.raises(ValueError, match="cannot be distinguished"):
        map_weights(model, {"a": moved["layers_0"], "b": moved["layers_1"]})


def test_norms_that_were_not_trained_follow_their_neighbours():
    """Their values are the same everywhere; the layers beside them are found by value, in the other order."""
    blocks = [nn.ModuleDict({"fc": nn.Linear(4, 4), "norm": nn.LayerNorm(4)}) for _ in range(2)]
    model = nn.ModuleList(blocks)
    norm = {"scale": np.ones(4, np.float32), "bias": np.zeros(4, np.float32)}
    params = {f"block_{i}": {"fc": dense(4, 4), "norm": norm} for i in range(2)}
    right = map_weights(model, params).to_jax(model)
    weights = map_weights(model, {"block_0": right["block_1"], "block_1": right["block_0"]})
    assert places(weights) == {
        "0.fc": "block_1/fc", "0.norm": "block_1/norm", "1.fc": "block_0/fc", "1.norm": "block_0/norm",
    }  # fmt: skip


def operations(weights):
    return {name: str(pair.operation) for pair in weights.pairs for name in pair.tensors}


def test_a_square_weight_lies_as_the_others_do():
    model = mlp(3, 4, 4, 2)
    across = {f"l{i}": dense(*shape, kernel="w") for i, shape in enumerate([(3, 4), (4, 4), (4, 2)])}
    assert operations(map_weights(model, across))["1.weight"] == "transpose(1, 0)"
    as_is = {f"l{i}": {"w": np.zeros((o, i_), np.float32), "b": np.zeros(o)} for i, (i_, o) in
             enumerate([(3, 4), (4, 4), (4, 2)])}  # fmt: skip
    assert operations(map_weights(model, as_is))["1.weight"] == "as is"


def test_a_square_weight_that_may_lie_either_way_is_refused():
    model = mlp(4, 4)
    with pytest.raises(ValueError, match=r"may be fc \(as is or transpose\(1, 0\)\)") as caught:
        map_weights(model, {"fc": dense(4, 4, kernel="w")})
    assert "overrides={'0.weight': ('fc/w', 'as is')} or 'transpose(1, 0)'" in str(caught.value)
    # torch's values tell, and so do the names of flax and of torch
    held = {"fc": {"w": model[0].weight.detach().numpy().T, "bias": model[0].bias.detach().numpy()}}
    assert operations(map_weights(model, held))["0.weight"] == "transpose(1, 0)"
    assert operations(map_weights(model, {"fc": dense(4, 4)}))["0.weight"] == "transpose(1, 0)"
    assert operations(map_weights(model, {"fc": dense(4, 4, kernel="weight")}))["0.weight"] == "as is"


def test_a_square_kernel_of_an_unknown_layer_is_refused():
    """A Linear's kernel lies across; without the class, a weight may be (in, out) itself."""
    state = {name: p.detach() for name, p in mlp(4, 4).named_parameters()}
    with pytest.raises(ValueError, match=r"may be fc \(as is or transpose\(1, 0\)\)"):
        map_weights(state, {"fc": dense(4, 4)})
    other = {"last.weight": np.zeros((2, 4), np.float32), "last.bias": np.zeros(2, np.float32)}
    weights = map_weights(state | other, {"fc": dense(4, 4), "last": dense(4, 2)})  # which shows how kernels lie
    assert operations(weights)["0.weight"] == "transpose(1, 0)"


def test_a_transposed_convolution_that_may_lie_either_way_is_refused():
    up = nn.ModuleDict({"up": nn.ConvTranspose2d(4, 4, 3)})
    params = {"up": {"kernel": np.zeros((3, 3, 4, 4), np.float32), "bias": np.zeros(4, np.float32)}}
    with pytest.raises(ValueError, match=r"transpose\(2, 3, 0, 1\), flip\(0, 1\) or transpose\(2, 3, 1, 0\)"):
        map_weights(up, params)


def test_the_same_names_as_torch():
    model = mlp(4, 4, 4)
    flat = {name: np.zeros(p.shape, np.float32) for name, p in model.named_parameters()}
    weights = map_weights(model, flat)
    assert places(weights) == {"0": "0", "1": "1"}
    assert set(operations(weights).values()) == {"as is"}
    assert all(np.array_equal(weights.to_jax(model)[name], p.detach()) for name, p in model.named_parameters())


@pytest.mark.parametrize("name", MODELS)
def test_every_model_under_its_own_names_lies_as_it_is(name):
    model, _ = trained(name, dtype=torch.float32)
    flat = {name: np.zeros(p.shape, np.float32) for name, p in model.named_parameters()}
    weights = map_weights(model, flat)
    assert {pair.source: pair.path.replace("/", ".") for pair in weights.pairs} == {name: name for name in flat}
    assert {str(pair.operation) for pair in weights.pairs} == {"as is"}


def test_lists_of_pairs_and_leaves_side_by_side():
    model = mlp(3, 5, 5, 2)
    zeros = lambda *shape: np.zeros(shape, np.float32)  # noqa: E731
    stax = [(zeros(3, 5), zeros(5)), (zeros(5, 5), zeros(5)), (zeros(5, 2), zeros(2))]
    moved = map_weights(model, stax).to_jax(model)
    assert all(np.array_equal(w, layer.weight.detach().T) for (w, _), layer in zip(moved, model, strict=True))
    flat = {"w1": zeros(3, 5), "b1": zeros(5), "w2": zeros(5, 4), "b2": zeros(4)}
    moved = map_weights(mlp(3, 5, 4), flat).to_jax(mlp(3, 5, 4))
    assert np.array_equal(moved["w2"], mlp(3, 5, 4)[1].weight.detach().T)


def test_parameters_of_the_users_own_modules():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.cls_token = nn.Parameter(torch.randn(1, 1, 6))
            self.scale = nn.Parameter(torch.randn(6))
            self.proj = nn.Parameter(torch.randn(6, 3))

    model = Own()
    params = {
        "cls": np.zeros(6, np.float32),
        "gamma": np.zeros((1, 6), np.float32),
        "matrix": np.zeros((3, 6), np.float32),
    }
    weights = map_weights(model, params)
    assert operations(weights) == {"cls_token": "reshape(6)", "scale": "reshape(1, 6)", "proj": "transpose(1, 0)"}
    assert torch.equal(weights.state_dict(weights.to_jax(model))["cls_token"], model.cls_token)


def test_what_has_no_counterpart_is_named():
    with pytest.raises(ValueError, match=r"In torch alone: 1\.weight \(2, 4\), 1\.bias \(2,\)\. In JAX alone: nothing"):
        map_weights(mlp(3, 4, 2), {"fc": dense(3, 4)})
    with pytest.raises(
        ValueError, match=r"In torch alone: nothing\. In JAX alone: more/bias \(9,\), more/kernel \(4, 9\)"
    ):
        map_weights(mlp(3, 4), {"fc": dense(3, 4), "more": dense(4, 9)})
    without = map_weights(mlp(3, 4, 2), {"fc": dense(3, 4)}, overrides={"1": None})
    assert "in torch only: 1.weight, 1.bias" in str(without)


def test_a_class_of_the_users_own_by_torchs_name():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.zeros(4, 4)), nn.Parameter(torch.zeros(4))

    with pytest.raises(ValueError, match=r"as is or transpose\(1, 0\)"):
        map_weights(Linear(), dense(4, 4))


def test_another_kind_of_layer_is_not_taken():
    model = nn.ModuleDict({"a": nn.LayerNorm(4), "b": nn.GroupNorm(2, 4)})
    norm = {"scale": np.ones(4, np.float32), "bias": np.zeros(4, np.float32)}
    assert places(map_weights(model, {"GroupNorm_0": norm, "LayerNorm_0": norm})) == {
        "a": "LayerNorm_0", "b": "GroupNorm_0",
    }  # fmt: skip
    with pytest.raises(ValueError, match="without a counterpart"):
        map_weights(nn.ModuleDict({"a": nn.LayerNorm(4)}), {"GroupNorm_0": norm})


def test_running_statistics_tell_a_batch_norm():
    model = nn.ModuleDict({"x": nn.GroupNorm(2, 4), "y": nn.BatchNorm1d(4)})
    norm = {"scale": np.ones(4, np.float32), "bias": np.zeros(4, np.float32)}
    weights = map_weights(model, {"p": norm | {"mean": np.zeros(4), "var": np.ones(4)}, "q": norm})
    assert places(weights) == {"x": "q", "y": "p"}


def test_nothing_of_torchs_is_refused():
    with pytest.raises(TypeError, match="cannot read torch's tensors from int"):
        map_weights(3, {})
