"""torch.optim.Adadelta."""

from collections.abc import Mapping
from typing import Any

import funcsgd
from torch_bridge.translate.optimizers.adapter import Adapter, Nearest, Number
from torch_bridge.translate.optimizers.weight_decay import FACTOR, decayed_gradient, nearest_stages


def _nearest(options: Mapping[str, Any]) -> Nearest:
    source = f"optax.adadelta({options['lr']}, rho={options['rho']!r}, eps={options['eps']!r})"
    notes = ("optax lets products be fused into sums, where torch rounds them",)
    return Nearest(nearest_stages(options), source, notes)


ADADELTA = Adapter(
    torch_class="torch.optim.adadelta.Adadelta",
    numbers=(
        Number("learning_rate", "lr"),
        Number("rho", "rho", shows_in="square_avg", optax=("rho",)),
        Number("eps", "eps", shows_in="acc_delta", optax=("eps",), scheduled=False),
        FACTOR,
    ),
    flags=("maximize",),
    state=("step", "square_avg", "acc_delta"),
    quantities=(
        *(FACTOR.quantity, "weight_decay", "step", "rho", "square_avg", "eps", "acc_delta"),
        "learning_rate",
    ),
    rule=funcsgd.adadelta,
    shown=decayed_gradient,
    nearest=_nearest,
    optax_fields={"e_g": "square_avg", "e_x": "acc_delta"},
    takes_root=True,
    in_double=True,
)
