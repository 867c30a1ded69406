"""torch.optim.NAdam."""

from collections.abc import Mapping
from typing import Any

import funcsgd
from torch_bridge.translate.optimizers.adam import BETAS, EPS, nearest_rule
from torch_bridge.translate.optimizers.adapter import Adapter, Nearest, Number
from torch_bridge.translate.optimizers.weight_decay import ADDED_DECAY, FACTOR, either_decayed, nearest_stages


def _nearest(options: Mapping[str, Any]) -> Nearest:
    grows = "optax.nadam's momentum is constant from the first step, torch's grows towards beta1"
    if options["decoupled_weight_decay"] and options["weight_decay"] != 0:
        source, notes = nearest_rule("nadamw", options, f"weight_decay={options['weight_decay']!r}")
        return Nearest(nearest_stages({**options, "weight_decay": 0}), source, (*notes, grows, ADDED_DECAY))
    source, notes = nearest_rule("nadam", options)
    return Nearest(nearest_stages(options), source, (*notes, grows))


NADAM = Adapter(
    torch_class="torch.optim.nadam.NAdam",
    numbers=(
        Number("learning_rate", "lr"),
        *BETAS,
        EPS,
        Number("momentum_decay", "momentum_decay", shows_in="mu_product"),
        FACTOR,
    ),
    flags=("decoupled_weight_decay", "maximize"),
    state=("step", "mu_product", "exp_avg", "exp_avg_sq"),
    scalars=("step", "mu_product"),
    quantities=(
        *("learning_rate", FACTOR.quantity, "decayed_parameter", "weight_decay", "step", "beta1", "momentum_decay"),
        *("mu_product", "exp_avg", "beta2", "exp_avg_sq", "eps"),
    ),
    rule=funcsgd.nadam,
    shown=either_decayed,
    nearest=_nearest,
    optax_fields={"mu": "exp_avg", "nu": "exp_avg_sq"},
    takes_root=True,
    in_double=True,
)
