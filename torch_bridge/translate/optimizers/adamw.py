"""torch.optim.AdamW."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import funcsgd
from torch_bridge.translate.optimizers.adam import AVERAGES, BETAS, EPS, OPTAX_FIELDS, STATE, nearest_rule
from torch_bridge.translate.optimizers.adapter import Adapter, Nearest, Number

if TYPE_CHECKING:
    import torch

_FACTOR = Number("weight_decay_factor", "weight_decay", shows_in="decayed_parameter", optax=("weight_decay",))


def _decayed_parameter(
    group: Mapping[str, Any], parameter: "torch.Tensor", gradient: "torch.Tensor"
) -> "dict[str, torch.Tensor]":
    del gradient
    if group["weight_decay"] == 0:
        return {}
    return {"decayed_parameter": parameter * (1 - float(group["lr"]) * group["weight_decay"])}


def _nearest(options: Mapping[str, Any]) -> Nearest:
    before = ("optax.scale(-1.0)",) if options["maximize"] else ()
    if options["amsgrad"]:
        source, notes = nearest_rule("amsgrad", options)
        return Nearest(before, source, (*notes, "optax has no decoupled weight decay beside amsgrad: it is lost"))
    source, notes = nearest_rule("adamw", options, f"weight_decay={options['weight_decay']!r}")
    notes.append("optax adds the decay to the step, torch decays the parameter first, in a rounding of its own")
    return Nearest(before, source, tuple(notes))


ADAMW = Adapter(
    torch_class="torch.optim.adamw.AdamW",
    numbers=(Number("learning_rate", "lr"), *BETAS, EPS, _FACTOR),
    flags=("amsgrad", "maximize"),
    state=STATE,
    quantities=("learning_rate", _FACTOR.quantity, "decayed_parameter", *AVERAGES),
    rule=funcsgd.adamw,
    shown=_decayed_parameter,
    nearest=_nearest,
    optax_fields=OPTAX_FIELDS,
    takes_root=True,
    in_double=True,
    fixed={"decoupled_weight_decay": True},
    otherwise="torch.optim.adam.Adam",
)
