"""Weight decay, coupled and decoupled, as several of torch's optimizers have it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch_bridge.translate.optimizers.adapter import Number

if TYPE_CHECKING:
    import torch

FACTOR = Number("weight_decay_factor", "weight_decay", shows_in="weight_decay", optax=("weight_decay",))

DECOUPLED = Number("weight_decay_factor", "weight_decay", shows_in="decayed_parameter", optax=("weight_decay",))
ADDED_DECAY = "optax adds the decay to the step, torch decays the parameter first, in a rounding of its own"


def decayed_gradient(
    group: Mapping[str, Any], parameter: "torch.Tensor", gradient: "torch.Tensor"
) -> "dict[str, torch.Tensor]":
    """Return the gradient with the decay, as torch computes it; nothing where there is no decay."""
    if group["weight_decay"] == 0:
        return {}
    signed = -gradient if group["maximize"] else gradient
    return {"weight_decay": signed.add(parameter, alpha=group["weight_decay"])}


def decayed_parameter(
    group: Mapping[str, Any], parameter: "torch.Tensor", gradient: "torch.Tensor"
) -> "dict[str, torch.Tensor]":
    """Return the parameter with the decay, as torch computes it; nothing where there is no decay."""
    del gradient
    if group["weight_decay"] == 0:
        return {}
    return {"decayed_parameter": parameter * (1 - float(group["lr"]) * group["weight_decay"])}


def either_decayed(
    group: Mapping[str, Any], parameter: "torch.Tensor", gradient: "torch.Tensor"
) -> "dict[str, torch.Tensor]":
    """Return what of the two is decayed, of an optimizer with the option ``decoupled_weight_decay``."""
    decayed = decayed_parameter if group["decoupled_weight_decay"] else decayed_gradient
    return decayed(group, parameter, gradient)


def nearest_stages(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return optax source of the sign and the decay."""
    stages: tuple[str, ...] = ("optax.scale(-1.0)",) if options["maximize"] else ()
    if options["weight_decay"] != 0:
        stages += (f"optax.add_decayed_weights({options['weight_decay']!r})",)
    return stages
