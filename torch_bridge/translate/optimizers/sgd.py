"""torch.optim.SGD."""

from collections.abc import Mapping
from typing import Any

import funcsgd
from torch_bridge.translate.optimizers.adapter import Adapter, Nearest, Number
from torch_bridge.translate.optimizers.weight_decay import FACTOR, decayed_gradient, nearest_stages


def _nearest(options: Mapping[str, Any]) -> Nearest:
    momentum = options["momentum"]
    cycled = isinstance(momentum, str)
    notes: list[str] = []
    source = f"optax.sgd({options['lr']}"
    if cycled or momentum != 0:
        source += f", momentum={0.9 if cycled else momentum}"
        notes.append("optax.trace lets momentum * buffer be fused into the sum, where torch rounds it first")
    source += ", nesterov=True)" if options["nesterov"] else ")"
    if options["dampening"] != 0 and momentum != 0:
        notes.append(f"optax has no dampening: gradients enter the buffer in full, not by {1 - options['dampening']:g}")
    if cycled:
        notes.append("optax.sgd's momentum is a constant: the cycling of momentum is lost")
    return Nearest(nearest_stages(options), source, tuple(notes))


SGD = Adapter(
    torch_class="torch.optim.sgd.SGD",
    numbers=(
        Number("learning_rate", "lr"),
        Number("momentum_factor", "momentum", shows_in="momentum_buffer", optax=("momentum", "decay")),
        Number("dampening", "dampening", shows_in="momentum_buffer", scheduled=False, fitted=False),
        FACTOR,
    ),
    flags=("nesterov", "maximize"),
    state=("momentum_buffer",),
    quantities=(
        FACTOR.quantity,
        "weight_decay",
        "momentum_factor",
        "dampening",
        "momentum_buffer",
        "learning_rate",
    ),
    rule=funcsgd.sgd,
    shown=decayed_gradient,
    nearest=_nearest,
    optax_fields={"trace": "momentum_buffer"},
)
