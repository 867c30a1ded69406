"""torch.optim.AdamW."""

from collections.abc import Mapping
from typing import Any

import funcsgd
from torch_bridge.translate.optimizers.adam import AVERAGES, BETAS, EPS, OPTAX_FIELDS, STATE, nearest_rule
from torch_bridge.translate.optimizers.adapter import Adapter, Nearest, Number
from torch_bridge.translate.optimizers.weight_decay import ADDED_DECAY, DECOUPLED, decayed_parameter


def _nearest(options: Mapping[str, Any]) -> Nearest:
    before = ("optax.scale(-1.0)",) if options["maximize"] else ()
    if options["amsgrad"]:
        source, notes = nearest_rule("amsgrad", options)
        return Nearest(before, source, (*notes, "optax has no decoupled weight decay beside amsgrad: it is lost"))
    source, notes = nearest_rule("adamw", options, f"weight_decay={options['weight_decay']!r}")
    notes.append(ADDED_DECAY)
    return Nearest(before, source, tuple(notes))


ADAMW = Adapter(
    torch_class="torch.optim.adamw.AdamW",
    numbers=(Number("learning_rate", "lr"), *BETAS, EPS, DECOUPLED),
    flags=("amsgrad", "maximize"),
    state=STATE,
    quantities=("learning_rate", DECOUPLED.quantity, "decayed_parameter", *AVERAGES),
    rule=funcsgd.adamw,
    shown=decayed_parameter,
    nearest=_nearest,
    optax_fields=OPTAX_FIELDS,
    takes_root=True,
    in_double=True,
    fixed={"decoupled_weight_decay": True},
    otherwise="torch.optim.adam.Adam",
)
