"""A way in which a layer of torch's can lie at a place of the JAX tree."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch_bridge.weights.jax_side import Leaf
from torch_bridge.weights.operation import Operation
from torch_bridge.weights.pair import Pair, Rows, Term
from torch_bridge.weights.torch_side import Tensor

BIASES = ("bias", "b", "beta", "offset", "shift")
"""Names that a bias has, in flax, equinox, haiku and by hand."""


@dataclass(frozen=True)
class Fit:
    """Pairs that place a layer.

    Attributes:
        pairs: for each leaf of the place, how it is made.
        layout: what distinguishes this fit from others at the same place, such as the weight's operation; for messages,
            and to find a layout by other layers whose shapes leave no choice.
    """

    pairs: tuple[Pair, ...]
    layout: tuple[str, str] = ("", "")

    @property
    def has_statistics(self) -> bool:
        """True if running statistics are in it."""
        return any(name.endswith("running_mean") for pair in self.pairs for name in pair.tensors)

    @property
    def leaves(self) -> frozenset[int]:
        """The numbers of its leaves."""
        return frozenset(pair.leaf for pair in self.pairs)


def whole(tensor: Tensor, leaf: Leaf, operation: Operation) -> Pair:
    """Return the pair of one tensor and one leaf."""
    return Pair(leaf.number, leaf.text, (Term(tensor.name),), operation)


def rows_of(tensor: Tensor, rows: Rows | None, leaf: Leaf, operation: Operation) -> Pair:
    """Return the pair of some rows of a tensor (None for all) and one leaf."""
    return Pair(leaf.number, leaf.text, (Term(tensor.name, rows),), operation)


def vector(shape: Sequence[int], leaf: Leaf) -> Operation | None:
    """Return how a bias becomes a leaf of as many elements, such as (heads, width) or (channels, 1, 1)."""
    size = 1
    for n in leaf.shape:
        size *= n
    return Operation(tuple(shape)).reshape(*leaf.shape) if size == shape[0] and leaf.shape else None
