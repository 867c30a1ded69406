"""Embeddings: (numbers, features) everywhere."""

from collections.abc import Iterator

from torch_bridge.weights.jax_side import Node
from torch_bridge.weights.kinds.fit import Fit, whole
from torch_bridge.weights.operation import Operation
from torch_bridge.weights.torch_side import TorchLayer


def embedding_fits(layer: TorchLayer, node: Node) -> Iterator[Fit]:
    """Yield the fit of an Embedding at a node with one leaf of its shape; a leaf named "kernel" is a linear layer's."""
    weight = layer.tensors.get("weight")
    leaf = next(iter(node.leaves.values())) if len(node.leaves) == 1 else None
    if weight is None or leaf is None or "/" in next(iter(node.leaves)):
        return
    if leaf.shape == weight.shape and leaf.path[-1] != "kernel":
        yield Fit((whole(weight, leaf, Operation(weight.shape)),), (leaf.path[-1], "as is"))
