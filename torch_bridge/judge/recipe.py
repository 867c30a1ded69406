"""Torch's SGD in ideal arithmetic: what a recipe makes of one step's gradients, and how each constant moves it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from torch_bridge.trace.trace import Array
from torch_bridge.translate.clip_grad import clipping_call

Columns: TypeAlias = dict[str, Array]


@dataclass(frozen=True)
class Ideal:
    """One quantity of one parameter, in float64.

    Attributes:
        value: what torch's formula gives.
        columns: computes its derivative by each hyperparameter, times that one's unit: ``"lr"``, ``"momentum"``,
            ``"weight_decay"``; those that do not act on it are left out.
    """

    value: Array
    columns: Callable[[], Columns]


@dataclass(frozen=True)
class Constants:
    """The hyperparameters of a parameter group at one step, and their units.

    Attributes:
        lr: learning rate.
        momentum: factor in force.
        weight_decay: factor.
        dampening: factor.
        nesterov: True for Nesterov's form.
        maximize: True for ascent.
        units: for ``"lr"``, ``"momentum"`` and ``"weight_decay"``, the change that counts as a relative change of 1.
    """

    lr: float
    momentum: float
    weight_decay: float
    dampening: float
    nesterov: bool
    maximize: bool
    units: Mapping[str, float]


def ideal_step(
    groups: Sequence[tuple[Sequence[str], Constants]],
    clip: Mapping[str, Any] | None,
    params: Mapping[str, Array],
    buffers: Mapping[str, Array],
    gradients: Mapping[str, Array],
) -> dict[str, dict[str, Ideal]]:
    """Return what one step of torch.optim.SGD is in real arithmetic, to the rounding of float64.

    With gradient g (clipped, and negated to maximize), parameter p, buffer b, factors l, m, w and d::

        weight_decay  h = g + w p
        momentum      b' = m b + (1 - d) h, or h for a buffer that has not started
        parameter     -l b', or -l (h + m b') after Nesterov, or -l h without momentum

    Args:
        groups: for each parameter group the names in it and its `Constants`.
        clip: None, or ``arguments`` of torch's clipping function and the ``order`` of the parameters.
        params: name -> array of any floating dtype, all parameters.
        buffers: name -> array, those that have started.
        gradients: name -> array; a parameter without one is not updated, and is left out of the result.

    Returns:
        phase -> name -> `Ideal`; ``"clip"`` only with ``clip``, ``"momentum"`` only for parameters that have it, and
        under ``"parameter"`` its change.

    Exactness: the rounding of float64.

    Source: ``torch.optim.sgd._single_tensor_sgd``, ``torch.nn.utils.clip_grad``.
    """
    wide = {name: np.asarray(value, np.float64) for name, value in gradients.items()}
    phases: dict[str, dict[str, Ideal]] = {}
    if clip is not None:
        wide = _clipped(wide, *clipping_call(clip["arguments"], clip["order"]))
        phases["clip"] = {name: Ideal(value, dict) for name, value in wide.items()}
    for names, of in groups:
        for name in names:
            if name in wide:
                param, buffer = (None if x is None else np.asarray(x, np.float64) for x in (
                    params[name], buffers.get(name)))  # fmt: skip
                for phase, ideal in _parameter(of, param, buffer, wide[name]).items():
                    phases.setdefault(phase, {})[name] = ideal
    return phases


def _parameter(of: Constants, param: Any, buffer: Array | None, gradient: Array) -> dict[str, Ideal]:
    gradient = -gradient if of.maximize else gradient
    decayed = gradient + of.weight_decay * param if of.weight_decay else gradient
    by_decay = of.units["weight_decay"]
    phases = {"weight_decay": Ideal(decayed, lambda: {"weight_decay": by_decay * param})}
    if not of.momentum:
        phases["parameter"] = Ideal(
            -of.lr * decayed,
            lambda: {"lr": -of.units["lr"] * decayed, "weight_decay": -of.lr * by_decay * param},
        )
        return phases
    share = 1.0 if buffer is None else 1.0 - of.dampening
    moved = decayed if buffer is None else of.momentum * buffer + share * decayed
    direction = decayed + of.momentum * moved if of.nesterov else moved

    def of_buffer() -> Columns:
        columns = {"weight_decay": share * by_decay * param}
        return columns if buffer is None else {**columns, "momentum": of.units["momentum"] * buffer}

    def of_change() -> Columns:
        columns = of_buffer()
        if of.nesterov:
            columns = {key: of.momentum * column for key, column in columns.items()}
            columns["weight_decay"] = columns["weight_decay"] + by_decay * param
            columns["momentum"] = columns.get("momentum", 0.0) + of.units["momentum"] * moved
        return {"lr": -of.units["lr"] * direction, **{key: -of.lr * column for key, column in columns.items()}}

    return phases | {"momentum": Ideal(moved, of_buffer), "parameter": Ideal(-of.lr * direction, of_change)}


def _clipped(gradients: Mapping[str, Array], function: str, options: Mapping[str, Any]) -> dict[str, Array]:
    if function == "clip_grad_value":
        limit = float(options["clip_value"])
        return {name: np.clip(g, -limit, limit) for name, g in gradients.items()}
    order = float(options.get("norm_type", 2.0))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        total = np.linalg.norm([np.linalg.norm(np.ravel(g), order) for g in gradients.values()], order)
        factor = np.minimum(float(options["max_norm"]) / (total + 1e-6), 1.0)
        return {name: g * factor for name, g in gradients.items()}
