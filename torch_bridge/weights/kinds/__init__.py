"""The kinds of layers: for each family, a function that yields the ways in which a layer lies at a node."""

from collections.abc import Callable, Iterator

from torch_bridge.weights.families import is_kin
from torch_bridge.weights.jax_side import Node, is_layer_sized
from torch_bridge.weights.kinds.attention import attention_fits, fused_fits
from torch_bridge.weights.kinds.convolution import convolution_fits, transposed_convolution_fits
from torch_bridge.weights.kinds.embedding import embedding_fits
from torch_bridge.weights.kinds.fit import Fit as Fit
from torch_bridge.weights.kinds.linear import linear_fits
from torch_bridge.weights.kinds.norm import norm_fits
from torch_bridge.weights.kinds.recurrent import recurrent_fits
from torch_bridge.weights.torch_side import TorchLayer

KINDS: dict[str, Callable[[TorchLayer, Node], Iterator[Fit]]] = {
    "Linear": linear_fits,
    "Conv": convolution_fits,
    "ConvTranspose": transposed_convolution_fits,
    "Embedding": embedding_fits,
    "BatchNorm": norm_fits,
    "InstanceNorm": norm_fits,
    "GroupNorm": norm_fits,
    "LayerNorm": norm_fits,
    "RMSNorm": norm_fits,
    "MultiheadAttention": attention_fits,
    "LSTM": recurrent_fits("LSTM"),
    "GRU": recurrent_fits("GRU"),
    "RNN": recurrent_fits("RNN"),
}
"""Family -> the ways of its layers."""


def fits_of(layer: TorchLayer, node: Node) -> list[Fit]:
    """Return all ways in which a layer lies at a node, each once."""
    found: dict[tuple[object, ...], Fit] = {}
    for family in layer.families:
        if family not in KINDS:
            continue
        fits: list[Fit] = []
        # The projections of attention lie beside others, so that the node may hold more than they.
        if family == "MultiheadAttention" or (is_layer_sized(node) and is_kin(family, node.family)):
            fits += KINDS[family](layer, node)
        if family == "Linear":
            fits += fused_fits(layer.tensors, node, known=layer.kind is not None)
        found |= {fit.pairs: fit for fit in fits}
    return list(found.values())
