"""Norms: a scale, a shift and, where they are kept, running statistics, all as they are."""

from collections.abc import Iterator

from torch_bridge.weights.jax_side import Node
from torch_bridge.weights.kinds.fit import BIASES, Fit, whole
from torch_bridge.weights.operation import Operation
from torch_bridge.weights.torch_side import TorchLayer

NAMES = {
    "weight": ("scale", "weight", "gamma", "g", "w"),
    "bias": BIASES,
    "running_mean": ("mean", "running_mean", "moving_mean"),
    "running_var": ("var", "running_var", "variance", "running_variance", "moving_variance", "moving_var"),
}
"""torch's name -> the names that a leaf may have."""


def norm_fits(layer: TorchLayer, node: Node) -> Iterator[Fit]:
    """Yield the fit of a norm at a node that has a leaf for each of its parameters; statistics may lie elsewhere."""
    roles = {rel: next((role for role, names in NAMES.items() if rel in names), None) for rel in node.leaves}
    if None in roles.values() or len(set(roles.values())) < len(roles):
        return
    leaves = {role: node.leaves[rel] for rel, role in roles.items() if role is not None}
    wanted = {role for role, tensor in layer.tensors.items() if tensor.is_weight}
    statistics = {role for role in layer.tensors if role.startswith("running")}
    if not wanted <= set(leaves) or not set(leaves) <= wanted | statistics:
        return
    pairs = []
    for role, leaf in leaves.items():
        tensor = layer.tensors[role]
        if tuple(n for n in leaf.shape if n != 1) != tuple(n for n in tensor.shape if n != 1):
            return
        pairs.append(whole(tensor, leaf, Operation(tensor.shape).reshape(*leaf.shape)))
    yield Fit(tuple(pairs))
