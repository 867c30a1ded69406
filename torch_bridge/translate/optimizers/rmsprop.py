"""torch.optim.RMSprop."""

from collections.abc import Mapping
from typing import Any

import funcsgd
from torch_bridge.translate.optimizers.adapter import Adapter, Nearest, Number
from torch_bridge.translate.optimizers.weight_decay import FACTOR, decayed_gradient, nearest_stages


def _nearest(options: Mapping[str, Any]) -> Nearest:
    momentum = options["momentum"]
    cycled = isinstance(momentum, str)
    arguments = [str(options["lr"]), f"decay={options['alpha']!r}", f"eps={options['eps']!r}", "eps_in_sqrt=False"]
    notes: list[str] = []
    if options["centered"]:
        arguments.append("centered=True")
    if cycled or momentum != 0:
        arguments.append(f"momentum={0.9 if cycled else momentum!r}")
        notes.append("optax.rmsprop has the learning rate inside the momentum buffer, where a later rate is late")
    if cycled:
        notes.append("optax.rmsprop's momentum is a constant: the cycling of momentum is lost")
    return Nearest(nearest_stages(options), f"optax.rmsprop({', '.join(arguments)})", tuple(notes))


RMSPROP = Adapter(
    torch_class="torch.optim.rmsprop.RMSprop",
    numbers=(
        Number("learning_rate", "lr"),
        Number("alpha", "alpha", shows_in="square_avg", optax=("decay",)),
        Number("eps", "eps", optax=("eps",), scheduled=False),
        Number("momentum_factor", "momentum", shows_in="momentum_buffer", optax=("momentum",)),
        FACTOR,
    ),
    flags=("centered", "maximize"),
    state=("step", "square_avg", "grad_avg", "momentum_buffer"),
    quantities=(
        *(FACTOR.quantity, "weight_decay", "step", "alpha", "square_avg", "grad_avg", "eps"),
        *("momentum_factor", "momentum_buffer", "learning_rate"),
    ),
    rule=funcsgd.rmsprop,
    shown=decayed_gradient,
    nearest=_nearest,
    optax_fields={"nu": "square_avg", "mu": "grad_avg"},
    takes_root=True,
    in_double=True,
)
