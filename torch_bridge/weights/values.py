"""Whether the JAX side holds the same numbers as torch's."""

from collections.abc import Mapping

import numpy as np

from torch_bridge.weights.jax_side import Leaf
from torch_bridge.weights.kinds.fit import Fit
from torch_bridge.weights.pair import Array, Pair
from torch_bridge.weights.torch_side import Tensor

SAMPLE = 16
"""Elements that are compared before all are."""


def holds_the_same(fit: Fit, tensors: Mapping[str, Tensor], leaves: Mapping[int, Leaf]) -> bool:
    """Return True if every leaf has the numbers that torch's tensors give it, and these distinguish the layers.

    A layer of constants alone, such as a norm that was not trained, does not count.

    Args:
        fit: where the layer might lie.
        tensors: by name.
        leaves: by number.
    """
    telling = False
    for pair in fit.pairs:
        values = {name: tensors[name].value for name in pair.tensors}
        leaf = leaves[pair.leaf].value
        known = {name: value for name, value in values.items() if value is not None}
        if leaf is None or len(known) < len(values) or not _same(pair, known, leaf):
            return False
        telling = telling or bool(leaf.size > 1 and (leaf != leaf.flat[0]).any())
    return telling


def _same(pair: Pair, values: Mapping[str, Array], leaf: Array) -> bool:
    moved = pair.to_leaf(values)
    if moved.size > 4 * SAMPLE:
        places = np.unravel_index(np.linspace(0, moved.size - 1, SAMPLE).astype(int), moved.shape)
        if not np.array_equal(moved[places].astype(leaf.dtype), leaf[places]):
            return False
    return np.array_equal(moved.astype(leaf.dtype), leaf)
