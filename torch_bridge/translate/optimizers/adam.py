"""torch.optim.Adam."""

from collections.abc import Mapping
from typing import Any

import funcsgd
from torch_bridge.translate.optimizers.adapter import Adapter, Nearest, Number
from torch_bridge.translate.optimizers.weight_decay import FACTOR, decayed_gradient, nearest_stages

BETAS = (
    Number("beta1", "betas", 0, shows_in="exp_avg", optax=("b1",)),
    Number("beta2", "betas", 1, shows_in="exp_avg_sq", optax=("b2",)),
)
EPS = Number("eps", "eps", optax=("eps",), scheduled=False)
STATE = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")
AVERAGES = ("step", "beta1", "exp_avg", "beta2", "exp_avg_sq", "max_exp_avg_sq", "eps")
"""The averages and what they are made with, in causal order."""
OPTAX_FIELDS = {"mu": "exp_avg", "nu": "exp_avg_sq", "nu_max": "max_exp_avg_sq"}


def nearest_rule(function: str, options: Mapping[str, Any], *more: str) -> tuple[str, list[str]]:
    """Return source of a call of ``optax.adam`` or its kin, and how the result differs."""
    notes = ["optax computes the bias corrections in float32, torch in float64"]
    betas = [0.9 if isinstance(beta, str) else beta for beta in options["betas"]]
    if any(isinstance(beta, str) for beta in options["betas"]):
        notes.append(f"the betas of optax.{function} are constants: the cycling of beta1 is lost")
    if options.get("amsgrad"):
        notes.append("optax.amsgrad keeps the largest corrected average of squares, torch the largest uncorrected one")
    arguments = [str(options["lr"])]
    arguments += [f"{key}={value!r}" for key, value, default in zip(("b1", "b2", "eps"), (*betas, options["eps"]),
                  (0.9, 0.999, 1e-8), strict=True) if value != default]  # fmt: skip
    return f"optax.{function}({', '.join([*arguments, *more])})", notes


def _nearest(options: Mapping[str, Any]) -> Nearest:
    source, notes = nearest_rule("amsgrad" if options["amsgrad"] else "adam", options)
    return Nearest(nearest_stages(options), source, tuple(notes))


ADAM = Adapter(
    torch_class="torch.optim.adam.Adam",
    numbers=(Number("learning_rate", "lr"), *BETAS, EPS, FACTOR),
    flags=("amsgrad", "maximize"),
    state=STATE,
    quantities=(FACTOR.quantity, "weight_decay", *AVERAGES, "learning_rate"),
    rule=funcsgd.adam,
    shown=decayed_gradient,
    nearest=_nearest,
    optax_fields=OPTAX_FIELDS,
    takes_root=True,
    in_double=True,
    fixed={"decoupled_weight_decay": False},
    otherwise="torch.optim.adamw.AdamW",
)
