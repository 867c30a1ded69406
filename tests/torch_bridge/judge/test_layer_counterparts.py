"""Which modules of a port hold a layer's weights, and in which layout its value is found."""

import numpy as np
import pytest
from flax import nnx

from funcsgd.arithmetic.float64_words import doubles
from tests.torch_bridge.weights import nnx_models, torch_models
from torch_bridge import map_weights
from torch_bridge.judge.layers.counterparts import Counterpart, Counterparts
from torch_bridge.judge.layers.taps import Point
from torch_bridge.judge.layers.values import closest, layouts


@pytest.mark.parametrize(
    ("name", "layer", "kind", "expected"),
    [
        ("resnet", "downsample.1", "BatchNorm2d", "shortcut/1"),
        ("gpt", "h.0.attn", "MultiheadAttention", "blocks/0/attention"),
        ("gpt", "wte", "Embedding", "tokens"),
        ("gpt", "lm_head", "Linear", "tokens"),
        ("gpt", "h.0.mlp.1", "GELU", None),
        ("tagger", "lstm", "LSTM", "forwards/1, backward/1"),
        ("gru", "gru", "GRU", "cell"),
    ],
)
def test_the_module_that_holds_all_weights_of_a_layer_and_no_others(name, layer, kind, expected):
    model, _ = torch_models.trained(name)
    with doubles():
        template = nnx.eval_shape(lambda: nnx_models.MODELS[name](nnx.Rngs(0)))
        found = Counterparts(map_weights(model, template)).of(layer, kind)
    assert (None if found is None else str(found[0])) == expected
    if layer in ("wte", "lm_head"):  # one module, two methods
        assert found[0].method == {"wte": "__call__", "lm_head": "attend"}[layer]


def zeros(*shape):
    return np.zeros(shape, np.float32)


def dense(inputs, outputs):
    return {"kernel": zeros(inputs, outputs), "bias": zeros(outputs)}


def test_projections_that_only_one_side_fuses():
    torch = {"attn.in_proj_weight": zeros(12, 4), "attn.in_proj_bias": zeros(12)}
    torch |= {"attn.out_proj.weight": zeros(4, 4), "attn.out_proj.bias": zeros(4)}
    apart = {name: {"kernel": zeros(4, 2, 2), "bias": zeros(2, 2)} for name in ("query", "key", "value")}
    apart |= {"out": {"kernel": zeros(2, 2, 4), "bias": zeros(4)}}
    found = Counterparts(map_weights(torch, {"mha": apart})).of("attn", "MultiheadAttention")
    assert str(found[0]) == "mha"
    torch = {"qkv.weight": zeros(12, 4), "qkv.bias": zeros(12), "out.weight": zeros(2, 4), "out.bias": zeros(2)}
    split = {f"{name}_proj": dense(4, 4) for name in "qkv"} | {"out": dense(4, 2)}
    found = Counterparts(map_weights(torch, split)).of("qkv", "Linear")
    assert str(found[0]) == "q_proj, k_proj, v_proj"


def test_values_side_by_side_and_columns():
    whole = np.random.default_rng(0).normal(size=(2, 3, 12))
    parts = np.split(whole, 3, -1)
    values = {Point("forward", name): part for name, part in zip("qkv", parts, strict=True)}
    place = closest(whole, [Counterpart(("q", "k", "v"))], values, "forward")
    assert np.array_equal(place.value(values, whole.shape, "forward"), whole)
    assert place.value(values, whole.shape, "backward") is None
    heads = {point: part.reshape(2, 3, 2, 2) for point, part in values.items()}
    place = closest(whole, [Counterpart(("q", "k", "v"))], heads, "forward")
    assert np.array_equal(place.value(heads, whole.shape, "forward"), whole)
    fused = {Point("forward", "qkv"): whole}
    place = closest(parts[1], [Counterpart(("qkv",), (4, 8))], fused, "forward")
    assert np.array_equal(place.value(fused, parts[1].shape, "forward"), parts[1])
    assert closest(whole[:, :2], [Counterpart(("qkv",))], fused, "forward") is None


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (3, 3, 3, 3), (2, 4, 4)])
def test_channels_last_and_time_first_are_layouts_of_one_value(shape):
    value = np.random.default_rng(0).normal(size=shape)
    for other in (value, np.moveaxis(value, 1, -1), value.swapaxes(0, 1), value.reshape(-1, shape[-1])):
        point = Point("forward", "layer")
        place = closest(value, [Counterpart(("layer",))], {point: other}, "forward")
        assert np.array_equal(place.value({point: other}, shape, "forward"), value)
    assert [number for number, _ in layouts(np.zeros((2, 3)), (2, 3))] == [0]
    assert list(layouts(np.zeros((2, 3)), (2, 4))) == []


def test_of_several_calls_the_one_that_torch_made_first_is_taken():
    calls = {Point("forward", "layer", call=i): np.full((2, 3), float(i)) for i in range(3)}
    place = closest(np.full((2, 3), 1.0), [Counterpart(("layer",))], calls, "forward")
    assert place.points[0].call == 1
