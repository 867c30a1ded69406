"""torch.optim.Adamax."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import funcsgd
from torch_bridge.translate.optimizers.adam import BETAS, EPS, nearest_rule
from torch_bridge.translate.optimizers.adapter import Adapter, Nearest, Number
from torch_bridge.translate.optimizers.weight_decay import FACTOR, decayed_gradient, nearest_stages


def _nearest(options: Mapping[str, Any]) -> Nearest:
    source, notes = nearest_rule("adamax", options)
    return Nearest(nearest_stages(options), source, tuple(notes))


ADAMAX = Adapter(
    torch_class="torch.optim.adamax.Adamax",
    numbers=(
        Number("learning_rate", "lr"),
        BETAS[0],
        replace(BETAS[1], shows_in="exp_inf"),
        replace(EPS, shows_in="exp_inf"),
        FACTOR,
    ),
    flags=("maximize",),
    state=("step", "exp_avg", "exp_inf"),
    quantities=(
        *(FACTOR.quantity, "weight_decay", "step", "beta1", "exp_avg", "beta2", "eps", "exp_inf"),
        "learning_rate",
    ),
    rule=funcsgd.adamax,
    shown=decayed_gradient,
    nearest=_nearest,
    optax_fields={"mu": "exp_avg", "nu": "exp_inf"},
    in_double=True,
)
