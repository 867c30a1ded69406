"""Which classes of torch, flax and equinox are the same kind of layer."""

import re
from collections.abc import Mapping
from typing import Any

TORCH_FAMILIES = {
    "Linear": "Linear",
    "LazyLinear": "Linear",
    "Conv1d": "Conv",
    "Conv2d": "Conv",
    "Conv3d": "Conv",
    "ConvTranspose1d": "ConvTranspose",
    "ConvTranspose2d": "ConvTranspose",
    "ConvTranspose3d": "ConvTranspose",
    "Embedding": "Embedding",
    "EmbeddingBag": "Embedding",
    "BatchNorm1d": "BatchNorm",
    "BatchNorm2d": "BatchNorm",
    "BatchNorm3d": "BatchNorm",
    "SyncBatchNorm": "BatchNorm",
    "InstanceNorm1d": "InstanceNorm",
    "InstanceNorm2d": "InstanceNorm",
    "InstanceNorm3d": "InstanceNorm",
    "GroupNorm": "GroupNorm",
    "LayerNorm": "LayerNorm",
    "RMSNorm": "RMSNorm",
    "MultiheadAttention": "MultiheadAttention",
    "LSTM": "LSTM",
    "LSTMCell": "LSTM",
    "GRU": "GRU",
    "GRUCell": "GRU",
    "RNN": "RNN",
    "RNNCell": "RNN",
}
"""torch's class -> family."""

JAX_FAMILIES = {
    "Linear": "Linear",
    "Dense": "Linear",
    "DenseGeneral": "Linear",
    "LinearGeneral": "Linear",
    "Conv": "Conv",
    "ConvTranspose": "ConvTranspose",
    "Embed": "Embedding",
    "Embedding": "Embedding",
    "BatchNorm": "BatchNorm",
    "InstanceNorm": "InstanceNorm",
    "GroupNorm": "GroupNorm",
    "LayerNorm": "LayerNorm",
    "RMSNorm": "RMSNorm",
    "MultiHeadAttention": "MultiheadAttention",
    "MultiHeadDotProductAttention": "MultiheadAttention",
    "SelfAttention": "MultiheadAttention",
    "MultiheadAttention": "MultiheadAttention",
    "LSTMCell": "LSTM",
    "OptimizedLSTMCell": "LSTM",
    "GRUCell": "GRU",
    "SimpleCell": "RNN",
}
"""flax's and equinox's class -> family."""

_NORMS = ("LayerNorm", "BatchNorm", "GroupNorm", "RMSNorm", "InstanceNorm")
AUTOMATIC = re.compile(r"([A-Z]\w*)_\d+")
"""linen's name of a submodule that was given none."""


def jax_family(module: Any, name: str) -> str | None:
    """Return the family of a module of flax or equinox, or of what linen named after its class; None if unknown.

    Args:
        module: the object, or None where only parameters are there.
        name: the last part of its path.
    """
    for each in type(module).__mro__:
        if each.__module__.split(".")[0] in ("flax", "equinox") and each.__name__ in JAX_FAMILIES:
            return JAX_FAMILIES[each.__name__]
    automatic = AUTOMATIC.fullmatch(name)
    return JAX_FAMILIES.get(automatic[1]) if automatic else None


def numbered_by_linen(name: str) -> bool:
    """Return True for linen's own name of a layer, such as ``Dense_0``.

    linen counts constructions, not calls: of ``Dense(8)(relu(Dense(8)(x)))`` the outer one, which is applied last, is
    ``Dense_0``. So these numbers do not determine the order of the layers of one module. The user's own modules, which
    are mostly made in loops, are taken in order.
    """
    automatic = AUTOMATIC.fullmatch(name)
    return automatic is not None and automatic[1] in JAX_FAMILIES


def is_kin(torch_family: str, jax: str | None) -> bool:
    """Return False if a known class of JAX's is another kind of layer than torch's."""
    return jax is None or jax == torch_family or (torch_family, jax) == ("InstanceNorm", "GroupNorm")


def guessed_families(tensors: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the families whose tensors have these names and shapes; none if there is no such.

    Args:
        tensors: by role, with a ``shape`` each.
    """
    roles = set(tensors)
    if {"weight_ih", "weight_hh"} <= roles:
        rows, hidden = tensors["weight_hh"].shape
        gates = {4: "LSTM", 3: "GRU", 1: "RNN"}.get(rows // hidden)
        return (gates,) if gates else ()
    if roles & {"in_proj_weight", "q_proj_weight"}:
        return ("MultiheadAttention",)
    if roles >= {"running_mean", "running_var"}:
        return ("BatchNorm", "InstanceNorm")
    if "weight" not in roles or not roles <= {"weight", "bias"}:
        return ()
    dimensions = len(tensors["weight"].shape)
    if dimensions == 1:
        return _NORMS
    if dimensions == 2:
        return ("Linear",) if "bias" in roles else ("Linear", "Embedding")
    return ("Conv", "ConvTranspose") if dimensions in (3, 4, 5) else ()
