"""Linear layers: (out, in) in torch and equinox, (in, out) in flax, and flax's kernels with axes for heads."""

import math
from collections.abc import Iterator

from torch_bridge.weights.jax_side import Leaf, Node
from torch_bridge.weights.kinds.fit import BIASES, Fit, vector, whole
from torch_bridge.weights.operation import Operation
from torch_bridge.weights.torch_side import TorchLayer


def linear_fits(layer: TorchLayer, node: Node) -> Iterator[Fit]:
    """Yield the ways in which a Linear layer lies at a node that has a weight, and a bias if torch has one."""
    weight, bias = layer.tensors.get("weight"), layer.tensors.get("bias")
    parts = weight_and_bias(node)
    if weight is None or parts is None or (bias is None) != (parts[1] is None):
        return
    kernel, offset = parts
    move = None if bias is None or offset is None else vector(bias.shape, offset)
    if bias is not None and move is None:
        return
    known, equinox = layer.kind is not None, node.family is not None
    for operation in linear_layouts(weight.shape, kernel, known=known, equinox=equinox):
        pairs = [whole(weight, kernel, operation)]
        if bias is not None and offset is not None and move is not None:
            pairs.append(whole(bias, offset, move))
        yield Fit(tuple(pairs), (kernel.path[-1], turned(operation)))


def weight_and_bias(node: Node) -> tuple[Leaf, Leaf | None] | None:
    """Return the two leaves of a node, identified by name, or by their dimensions; None if these are not its leaves."""
    leaves = dict(node.leaves)
    if not 1 <= len(leaves) <= 2 or any("/" in rel for rel in leaves):
        return None
    bias = next((leaf for rel, leaf in leaves.items() if rel in BIASES), None)
    rest = [leaf for leaf in leaves.values() if leaf is not bias]
    if len(rest) == 2:
        rest.sort(key=lambda leaf: -len(leaf.shape))
        bias = rest.pop() if len(rest[1].shape) < len(rest[0].shape) else None
    return (rest[0], bias) if len(rest) == 1 else None


def linear_layouts(shape: tuple[int, ...], leaf: Leaf, *, known: bool, equinox: bool = False) -> list[Operation]:
    """Return how a weight (out, in) can be the leaf.

    Args:
        shape: of the weight.
        leaf: the leaf. "kernel" is flax's name of (in, out); under other names a square matrix may be either.
        known: the layer is a Linear; otherwise its weight may be (in, out) itself, and a square kernel either.
        equinox: the leaf is in a module whose class is known, so that "weight" is (out, in).
    """
    if leaf.path[-1] == "embedding":
        return []
    as_is, across = Operation(shape), Operation(shape).transpose(1, 0)
    if len(leaf.shape) == 2:
        found = [operation for operation in (as_is, across) if operation.result == leaf.shape]
        if len(found) == 2 and leaf.path[-1] == "kernel" and known:
            return [across]
        return [as_is] if len(found) == 2 and leaf.path[-1] == "weight" and equinox else found
    rows, columns = shape
    cuts = range(1, len(leaf.shape))
    if any((math.prod(leaf.shape[:k]), math.prod(leaf.shape[k:])) == (columns, rows) for k in cuts):
        return [across.reshape(*leaf.shape)]
    return []


def turned(operation: Operation) -> str:
    """Return an operation without the sizes in it, to compare layouts of layers."""
    steps = [f"{name}{argument if name != 'reshape' else ''}" for name, argument in operation.steps]
    return ", ".join(steps) or "as is"
