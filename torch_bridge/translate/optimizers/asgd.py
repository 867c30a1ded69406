"""torch.optim.ASGD."""

from collections.abc import Mapping
from typing import Any

import funcsgd
from torch_bridge.translate.optimizers.adapter import Adapter, Nearest, Number
from torch_bridge.translate.optimizers.weight_decay import FACTOR, decayed_gradient, nearest_stages


def _nearest(options: Mapping[str, Any]) -> Nearest:
    notes = (
        "optax has nothing like ASGD: this is SGD, without its average",
        f"torch's step size falls with the power {options['alpha']:g} of the steps, and its parameters decay, "
        f"as fast as lambd={options['lambd']:g} says",
    )
    return Nearest(nearest_stages(options), f"optax.sgd({options['lr']})", notes)


ASGD = Adapter(
    torch_class="torch.optim.asgd.ASGD",
    numbers=(
        Number("learning_rate", "lr"),
        Number("lambd", "lambd", shows_in="ax"),
        Number("alpha", "alpha", shows_in="eta"),
        Number("t0", "t0", shows_in="mu"),
        FACTOR,
    ),
    flags=("maximize",),
    state=("step", "eta", "mu", "ax"),
    scalars=("step", "eta", "mu"),
    quantities=(
        *(FACTOR.quantity, "weight_decay", "step", "learning_rate", "lambd", "ax", "alpha", "eta", "t0", "mu"),
    ),
    rule=funcsgd.asgd,
    shown=decayed_gradient,
    nearest=_nearest,
    in_double=True,
)
