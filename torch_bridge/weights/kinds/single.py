"""One tensor and one leaf: parameters of the user's own modules, and layers whose leaves lie apart."""

from collections.abc import Iterator

from torch_bridge.weights.jax_side import Leaf
from torch_bridge.weights.kinds.fit import Fit, whole
from torch_bridge.weights.kinds.linear import linear_layouts
from torch_bridge.weights.operation import Operation
from torch_bridge.weights.torch_side import Tensor


def single_fits(tensor: Tensor, families: tuple[str, ...], leaf: Leaf) -> Iterator[Fit]:
    """Yield the ways in which a tensor is a leaf.

    Args:
        tensor: the tensor.
        families: of its layer; a Linear layer's weight may lie (in, out), a convolution's (..., in, out).
        leaf: the leaf.
    """
    shape = tensor.shape
    if len(shape) == 2 and "Linear" in families:
        found = linear_layouts(shape, leaf, known=False)
    elif len(shape) > 2 and {"Conv", "ConvTranspose"} & set(families):
        spatial = range(2, len(shape))
        ways = [Operation(shape), Operation(shape).transpose(*spatial, 1, 0)]
        if "ConvTranspose" in families:
            ways.append(Operation(shape).transpose(*spatial, 0, 1).flip(*range(len(spatial))))
        found = [operation for operation in ways if operation.result == leaf.shape]
    elif shape == leaf.shape:
        found = [Operation(shape)]
    elif tuple(n for n in shape if n != 1) == tuple(n for n in leaf.shape if n != 1):
        found = [Operation(shape).reshape(*leaf.shape)]
    elif shape == leaf.shape[::-1] and len(shape) == 2:
        found = [Operation(shape).transpose(1, 0)]
    else:
        found = []
    for operation in found:
        yield Fit((whole(tensor, leaf, operation),), (leaf.path[-1] if leaf.path else "", str(operation)))
