"""The findings on an update rule in one quantity of one step, and the constants that explain them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from torch_bridge.judge.findings import SPARE, norm, unit_roundoff
from torch_bridge.judge.ideal import Ideal
from torch_bridge.judge.number_fit import NumberFit
from torch_bridge.trace.trace import Array

_SPARE = 10 * SPARE
"""More than a function's: of ``1 - beta2**t`` in Adam's bias correction three digits are lost in every arithmetic."""


@dataclass(frozen=True)
class RuleFinding:
    """The distance of two rules in one quantity of one parameter at one step, both in float64 from equal states.

    Attributes:
        step: from 0.
        phase: the first phase that shows it; where a hyperparameter explains the difference, the one it belongs to.
        name: the parameter by its torch name.
        distance: 2-norm of the difference over the 2-norm of torch's value (of the update, for the parameter).
        limit: what rounding in float64, and constants held in the parameters' dtype, explain of it.
        same: True if the rules agree here.
        constants: relative changes of torch's hyperparameters that turn its value into the candidate's, if any do:
            ``{"weight_decay": -0.5}`` for a decay of half torch's. The learning rate's is relative to its largest
            value.
        index: the element furthest off, in torch's layout.
        reference: torch's value there.
        candidate: JAX's value there.
    """

    step: int
    phase: str
    name: str
    distance: float
    limit: float
    same: bool
    constants: Mapping[str, float] = field(default_factory=dict)
    index: tuple[int, ...] = ()
    reference: float = 0.0
    candidate: float = 0.0


@dataclass(frozen=True)
class Scale:
    """Properties of a parameter beside its values.

    Attributes:
        size: 2-norm of the terms that make the quantity, from which its rounding follows.
        roundoff: unit roundoff of the type in which the rule holds its constants.
        matching: hyperparameters that equal torch's, and explain no difference.
        rounded: how many units of roundoff one of the two values may be off, where it is known as a rounded one alone.
        shows_in: hyperparameter -> the first phase that a wrong one shows in.
    """

    size: float
    roundoff: float
    matching: frozenset[str]
    rounded: float
    shows_in: Mapping[str, str] = field(default_factory=dict)


def rule_finding(
    step: int, phase: str, name: str, ideal: Ideal, value: Array, scale: Scale, *, blame: bool = False
) -> RuleFinding:
    """Compare a rule's quantity in float64 with torch's, and fit what differs by changes of the hyperparameters.

    Args:
        step: the step's number.
        phase: the quantity's phase.
        name: the parameter.
        ideal: torch's side.
        value: the candidate's, in float64.
        scale: what is known beside the values.
        blame: look for a hyperparameter that explains a difference.
    """
    reference, value = np.asarray(ideal.value, np.float64), np.asarray(value, np.float64)
    with np.errstate(invalid="ignore"):
        gap = value - reference
    size, u, u64 = scale.size, scale.roundoff, unit_roundoff(np.float64)
    own = norm(reference)
    own = own if 0 < own < np.inf else size or 1.0
    rounding = _SPARE * u64 * max(size, own)
    rounding = max(rounding, scale.rounded * u * max(size, own))
    held = 4 * u if u > u64 else _SPARE * u
    distance, allowed = norm(gap), rounding
    off: dict[str, float] = {}
    same = distance <= rounding
    if not same:
        fit = NumberFit(ideal, value, rounding, held)
        same = fit.with_free() <= rounding
        if same:
            allowed += held * sum(fit.sizes.values())
        else:
            allowed = float(np.hypot(rounding, norm(fit.explained())))
            off = fit.blamed(scale.matching) if blame else {}
    where = scale.shows_in[next(iter(off))] if len(off) == 1 else phase
    index = np.unravel_index(int(np.argmax(np.nan_to_num(np.abs(gap), nan=np.inf))), gap.shape)
    return RuleFinding(
        step, where, name, distance / own, allowed / own, same, off,
        tuple(int(i) for i in index), float(reference[index]), float(value[index]),
    )  # fmt: skip


def average_finding(step: int, name: str, torch: Array, value: Array) -> RuleFinding:
    """An average is a contraction: torch's own value is as good as its rounding, a few units in the last place."""
    reference, value = np.asarray(torch, np.float64), np.asarray(value, np.float64)
    gap, size = np.abs(value - reference), norm(np.asarray(torch, np.float64)) or 1.0
    distance, limit = norm(gap) / size, 8 * unit_roundoff(torch.dtype)
    index = np.unravel_index(int(np.argmax(gap)), gap.shape)
    return RuleFinding(
        step, "average", name, distance, limit, distance <= limit, {},
        tuple(int(i) for i in index), float(reference[index]), float(value[index]),
    )  # fmt: skip
