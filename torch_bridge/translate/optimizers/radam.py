"""torch.optim.RAdam."""

from collections.abc import Mapping
from typing import Any

import funcsgd
from torch_bridge.translate.optimizers.adam import BETAS, EPS, nearest_rule
from torch_bridge.translate.optimizers.adapter import Adapter, Nearest, Number
from torch_bridge.translate.optimizers.weight_decay import FACTOR, either_decayed, nearest_stages


def _nearest(options: Mapping[str, Any]) -> Nearest:
    source, notes = nearest_rule("radam", options)
    notes.append("optax adds eps to the corrected root, torch to the root before its correction")
    if options["decoupled_weight_decay"] and options["weight_decay"] != 0:
        options = {**options, "weight_decay": 0}
        notes.append("optax.radam has no decoupled weight decay: it is lost")
    return Nearest(nearest_stages(options), source, tuple(notes))


RADAM = Adapter(
    torch_class="torch.optim.radam.RAdam",
    numbers=(Number("learning_rate", "lr"), *BETAS, EPS, FACTOR),
    flags=("decoupled_weight_decay", "maximize"),
    state=("step", "exp_avg", "exp_avg_sq"),
    quantities=(
        *("learning_rate", FACTOR.quantity, "decayed_parameter", "weight_decay", "step"),
        *("beta1", "exp_avg", "beta2", "exp_avg_sq", "eps"),
    ),
    rule=funcsgd.radam,
    shown=either_decayed,
    nearest=_nearest,
    optax_fields={"mu": "exp_avg", "nu": "exp_avg_sq"},
    takes_root=True,
    in_double=True,
)
