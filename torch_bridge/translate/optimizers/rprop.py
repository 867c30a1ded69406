"""torch.optim.Rprop."""

from collections.abc import Mapping
from typing import Any

import funcsgd
from torch_bridge.translate.optimizers.adapter import Adapter, Nearest, Number


def _nearest(options: Mapping[str, Any]) -> Nearest:
    (minus, plus), (smallest, largest) = options["etas"], options["step_sizes"]
    rate, notes = options["lr"], ["optax.rprop does not move in its first update: every later one is a step behind"]
    try:
        float(rate)
    except ValueError:  # source of a schedule
        rate = f"({rate})(0)"
        notes.append("the learning rate counts at a parameter's first gradient alone, in optax at the first update")
    source = (
        f"optax.rprop({rate}, eta_minus={minus!r}, eta_plus={plus!r}, "
        f"min_step_size={smallest!r}, max_step_size={largest!r})"
    )
    return Nearest(("optax.scale(-1.0)",) if options["maximize"] else (), source, tuple(notes))


RPROP = Adapter(
    torch_class="torch.optim.rprop.Rprop",
    numbers=(
        Number("learning_rate", "lr", shows_in="step_size"),
        Number("eta_minus", "etas", 0, shows_in="step_size", optax=("eta_minus",), scheduled=False),
        Number("eta_plus", "etas", 1, shows_in="step_size", optax=("eta_plus",), scheduled=False),
        Number("step_size_min", "step_sizes", 0, shows_in="step_size", optax=("min_step_size",), scheduled=False),
        Number("step_size_max", "step_sizes", 1, shows_in="step_size", optax=("max_step_size",), scheduled=False),
    ),
    flags=("maximize",),
    state=("step", "prev", "step_size"),
    quantities=(
        *("step", "learning_rate", "eta_minus", "eta_plus", "step_size_min", "step_size_max"),
        *("step_size", "prev"),
    ),
    rule=funcsgd.rprop,
    nearest=_nearest,
    optax_fields={"step_sizes": "step_size"},
    in_double=True,
)
