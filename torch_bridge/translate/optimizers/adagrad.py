"""torch.optim.Adagrad."""

from collections.abc import Mapping
from typing import Any

import funcsgd
from torch_bridge.translate.optimizers.adam import EPS
from torch_bridge.translate.optimizers.adapter import Adapter, Nearest, Number
from torch_bridge.translate.optimizers.weight_decay import FACTOR, decayed_gradient, nearest_stages


def _nearest(options: Mapping[str, Any]) -> Nearest:
    begin = options["initial_accumulator_value"]
    source = f"optax.adagrad({options['lr']}, initial_accumulator_value={begin!r}, eps={options['eps']!r})"
    notes = ["optax.adagrad has eps inside of the root, and leaves a parameter as it is while its sum is 0"]
    if options["lr_decay"] != 0:
        notes.append("optax.adagrad has no lr_decay: its steps shorten by the sum alone")
    return Nearest(nearest_stages(options), source, tuple(notes))


ADAGRAD = Adapter(
    torch_class="torch.optim.adagrad.Adagrad",
    numbers=(
        Number("learning_rate", "lr"),
        Number("lr_decay", "lr_decay"),
        Number("initial_accumulator_value", "initial_accumulator_value", shows_in="sum", scheduled=False, fitted=False),
        EPS,
        FACTOR,
    ),
    flags=("maximize",),
    state=("step", "sum"),
    quantities=(
        *(FACTOR.quantity, "weight_decay", "step", "initial_accumulator_value", "sum", "eps"),
        *("lr_decay", "learning_rate"),
    ),
    rule=funcsgd.adagrad,
    shown=decayed_gradient,
    nearest=_nearest,
    optax_fields={"sum_of_squares": "sum"},
    takes_root=True,
    in_double=True,
)
