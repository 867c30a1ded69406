"""Convolutions and transposed convolutions of one to three dimensions."""

from collections.abc import Iterator

from torch_bridge.weights.jax_side import Leaf, Node
from torch_bridge.weights.kinds.fit import Fit, vector, whole
from torch_bridge.weights.kinds.linear import turned, weight_and_bias
from torch_bridge.weights.operation import Operation
from torch_bridge.weights.torch_side import TorchLayer

Shape = tuple[int, ...]


def convolution_fits(layer: TorchLayer, node: Node) -> Iterator[Fit]:
    """Yield the ways of a Conv: (out, in, ...) in torch and equinox, (..., in, out) in flax."""
    yield from _fits(layer, node, transposed=False)


def transposed_convolution_fits(layer: TorchLayer, node: Node) -> Iterator[Fit]:
    """Yield the ways of a ConvTranspose, whose kernel torch keeps (in, out, ...), see `_transposed_layouts`."""
    yield from _fits(layer, node, transposed=True)


def _fits(layer: TorchLayer, node: Node, *, transposed: bool) -> Iterator[Fit]:
    weight, bias = layer.tensors.get("weight"), layer.tensors.get("bias")
    parts = weight_and_bias(node)
    if weight is None or parts is None or (bias is None) != (parts[1] is None):
        return
    kernel, offset = parts
    if len(kernel.shape) != len(weight.shape):
        return
    move = None if bias is None or offset is None else vector(bias.shape, offset)
    if bias is not None and move is None:
        return
    layouts = _transposed_layouts(weight.shape, kernel, node) if transposed else _layouts(weight.shape, kernel)
    for operation in layouts:
        pairs = [whole(weight, kernel, operation)]
        if bias is not None and offset is not None and move is not None:
            pairs.append(whole(bias, offset, move))
        yield Fit(tuple(pairs), (kernel.path[-1], turned(operation)))


def _layouts(shape: Shape, leaf: Leaf) -> list[Operation]:
    spatial = range(2, len(shape))
    as_is, last = Operation(shape), Operation(shape).transpose(*spatial, 1, 0)
    found = [operation for operation in (as_is, last) if operation.result == leaf.shape]
    if len(found) == 2 and leaf.path[-1] in ("kernel", "weight"):
        return [last if leaf.path[-1] == "kernel" else as_is]
    return found


def _transposed_layouts(shape: Shape, leaf: Leaf, node: Node) -> list[Operation]:
    """How a kernel (in, out, ...) can be the leaf.

    flax keeps (..., in, out) and runs the kernel the other way round, so that its axes are flipped; with
    ``transpose_kernel`` it keeps (..., out, in) and runs it as torch does. equinox keeps (out, in, ...), flipped, of
    all groups side by side.
    """
    spatial = range(2, len(shape))
    flax = Operation(shape).transpose(*spatial, 0, 1).flip(*range(len(spatial)))
    flax_turned = Operation(shape).transpose(*spatial, 1, 0)
    as_is, equinox = Operation(shape), _of_equinox(shape, leaf)
    if node.module is not None and node.family == "ConvTranspose":
        if leaf.path[-1] == "weight":
            options = [equinox]
        else:
            options = [flax_turned if getattr(node.module, "transpose_kernel", False) else flax]
    elif leaf.path[-1] == "kernel":
        options = [flax, flax_turned]
    else:
        options = [as_is] if leaf.path[-1] == "weight" and leaf.shape == shape else [as_is, flax, flax_turned, equinox]
    return [operation for operation in options if operation is not None and operation.result == leaf.shape]


def _of_equinox(shape: Shape, leaf: Leaf) -> Operation | None:
    inputs, outputs, *kernel = shape
    if leaf.shape[0] % outputs:
        return None
    groups = leaf.shape[0] // outputs
    if inputs % groups:
        return None
    spatial = range(2, len(shape))
    operation = Operation(shape)
    if groups == 1:
        operation = operation.transpose(1, 0, *spatial)
    else:
        operation = operation.reshape(groups, inputs // groups, outputs, *kernel)
        operation = operation.transpose(0, 2, 1, *(i + 1 for i in spatial))
        operation = operation.reshape(groups * outputs, inputs // groups, *kernel)
    return operation.flip(*spatial)
