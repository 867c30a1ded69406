"""torch.nn.utils.clip_grad -> funcsgd's clipping, identified by the arguments that the script gives it."""

from collections.abc import Mapping, Sequence
from typing import Any

import optax

import funcsgd


def clipping_call(clip: Mapping[str, Any], order: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return the name of funcsgd's function, and its arguments, for a call of one of torch's.

    Args:
        clip: the arguments of ``clip_grad_norm_``, such as ``{"max_norm": 1.0}``, or of ``clip_grad_value_``,
            ``{"clip_value": 0.5}``, but for the parameters, which are all of the optimizer's.
        order: the names of the parameters in the order in which the script gives them, the model's.

    Raises:
        ValueError: these are arguments of neither.
    """
    options = {key: value for key, value in clip.items() if key != "foreach"}  # the same bits either way
    if set(options) == {"clip_value"}:
        return "clip_grad_value", options
    if "max_norm" in options and set(options) <= {"max_norm", "norm_type", "error_if_nonfinite"}:
        return "clip_grad_norm", {**options, "order": list(order)}
    raise ValueError(
        f"clip={dict(clip)!r} are the arguments of neither clip_grad_norm_, such as {{'max_norm': 1.0}}, nor "
        "clip_grad_value_, such as {'clip_value': 0.5}"
    )


def clipping_from_torch(clip: Mapping[str, Any], order: Sequence[str]) -> optax.GradientTransformationExtraArgs:
    """Return the stage of an optax chain that clips as torch would; see `clipping_call`."""
    name, options = clipping_call(clip, order)
    stage: optax.GradientTransformationExtraArgs = getattr(funcsgd, name)(**options)
    return stage
