"""Coupled weight decay, as several of torch's optimizers have it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch_bridge.translate.optimizers.adapter import Number

if TYPE_CHECKING:
    import torch

FACTOR = Number("weight_decay_factor", "weight_decay", shows_in="weight_decay", optax=("weight_decay",))


def decayed_gradient(
    group: Mapping[str, Any], parameter: "torch.Tensor", gradient: "torch.Tensor"
) -> "dict[str, torch.Tensor]":
    """Return the gradient with the decay, as torch computes it; nothing where there is no decay."""
    if group["weight_decay"] == 0:
        return {}
    signed = -gradient if group["maximize"] else gradient
    return {"weight_decay": signed.add(parameter, alpha=group["weight_decay"])}


def nearest_stages(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return optax source of the sign and the decay."""
    stages: tuple[str, ...] = ("optax.scale(-1.0)",) if options["maximize"] else ()
    if options["weight_decay"] != 0:
        stages += (f"optax.add_decayed_weights({options['weight_decay']!r})",)
    return stages
