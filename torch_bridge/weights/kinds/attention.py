"""Attention: one fused projection in torch, or three, against one or three in JAX."""

from collections.abc import Iterator, Mapping

from torch_bridge.weights.jax_side import Node
from torch_bridge.weights.kinds.fit import Fit, rows_of, vector
from torch_bridge.weights.kinds.linear import linear_fits, linear_layouts, turned, weight_and_bias
from torch_bridge.weights.torch_side import Tensor, TorchLayer

QUERY_KEY_VALUE = (
    ("query", "key", "value"),
    ("query_proj", "key_proj", "value_proj"),
    ("q_proj", "k_proj", "v_proj"),
    ("to_q", "to_k", "to_v"),
    ("wq", "wk", "wv"),
    ("q", "k", "v"),
)
"""Names of the three projections in flax, equinox and by hand."""


def attention_fits(layer: TorchLayer, node: Node) -> Iterator[Fit]:
    """Yield the ways of ``nn.MultiheadAttention``'s projections of the inputs; its ``out_proj`` is a layer itself."""
    tensors = layer.tensors
    extra = {"bias_k", "bias_v"} & set(tensors)
    if extra:
        return
    bias = tensors.get("in_proj_bias")
    if "in_proj_weight" in tensors:
        fused = {"weight": tensors["in_proj_weight"]} | ({} if bias is None else {"bias": bias})
        yield from fused_fits(fused, node, known=True)
        yield from linear_fits(TorchLayer(layer.name, layer.families, fused, layer.kind), node)
    elif {"q_proj_weight", "k_proj_weight", "v_proj_weight"} <= set(tensors):
        weights = [(tensors[f"{letter}_proj_weight"], 0) for letter in "qkv"]
        yield from _three(weights, bias, node, known=True)


def fused_fits(tensors: Mapping[str, Tensor], node: Node, *, known: bool) -> Iterator[Fit]:
    """Yield the ways of a Linear (3 width, in) whose rows are the query's, the key's and the value's, in this order.

    Args:
        tensors: "weight" and, if there is one, "bias".
        node: the place above the three projections; others may lie beside them.
        known: see `linear_layouts`.
    """
    weight = tensors.get("weight")
    if weight is not None and len(weight.shape) == 2 and weight.shape[0] % 3 == 0:
        yield from _three([(weight, i) for i in range(3)], tensors.get("bias"), node, known=known, split=True)


def _three(
    weights: list[tuple[Tensor, int]], bias: Tensor | None, node: Node, *, known: bool, split: bool = False
) -> Iterator[Fit]:
    """The three projections; of each the weight, and which third of it if it is split."""
    names = next((names for names in QUERY_KEY_VALUE if set(names) <= set(node.children)), None)
    if names is None:
        return
    pairs, alternatives = [], []
    for i, name in enumerate(names):
        parts = weight_and_bias(node.child(name))
        if parts is None or (parts[1] is None) != (bias is None):
            return
        tensor, third = weights[i]
        width = tensor.shape[0] // 3 if split else tensor.shape[0]
        rows = (third * width, (third + 1) * width) if split else None
        child = node.child(name)
        layouts = linear_layouts((width, tensor.shape[1]), parts[0], known=known, equinox=child.family is not None)
        alternatives.append([(rows_of(tensor, rows, parts[0], each), turned(each)) for each in layouts])
        if bias is not None and parts[1] is not None:
            move = vector((width,), parts[1])
            if move is None:
                return
            pairs.append(rows_of(bias, (i * width, (i + 1) * width), parts[1], move))
    kernel = alternatives[0][0][0].path.rpartition("/")[2] if alternatives[0] else ""
    for way in dict.fromkeys(way for _, way in alternatives[0]):
        chosen = [next((pair for pair, each in options if each == way), None) for options in alternatives]
        if None not in chosen:
            yield Fit((*[pair for pair in chosen if pair is not None], *pairs), (kernel, way))
