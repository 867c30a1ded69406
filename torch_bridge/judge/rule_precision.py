"""How precisely an update rule is computed: its own arithmetic beside its float64 form, from one state of torch's.

Two rules that agree in float64 may be computed in different types: momentum that is held in bfloat16, gradients that
are cast to float16. The error of one step shows it, from torch's parameters, state and gradients.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optax

from torch_bridge.judge.findings import PrecisionFinding, norm, unit_roundoff
from torch_bridge.judge.report import FACTOR
from torch_bridge.judge.rules import Reference, RuleJudge, observed_rule
from torch_bridge.judge.widening import Widened, beside
from torch_bridge.replaying.layout import Layout
from torch_bridge.replaying.steps import Observed
from torch_bridge.trace.trace import Array, Step, Trace, in_phase
from torch_bridge.weights import Weights

LOST = 1e3
"""How many roundings a step may be off: a bias correction that is computed in float32 loses three digits, and the next
narrower format four and more."""


def allowed(finding: PrecisionFinding) -> float:
    """Return the relative error that a rule may have."""
    return max(FACTOR * finding.torch, LOST * finding.floor)


def worth_measuring(off: float, recorded: Step) -> bool:
    """True if bits that differ by so much, relatively, are more than a step's rounding in torch's type."""
    types = [np.asarray(value).dtype for value in in_phase(recorded, "parameter").values()]
    return off > FACTOR * max((unit_roundoff(dtype) for dtype in types), default=np.inf)


def rule_precisions(
    trace: Trace, tx: optax.GradientTransformation, weights: Weights, step: int, opt_state: optax.OptState
) -> list[PrecisionFinding]:
    """Return the quantities of a step in which a rule's rounding error is more than that of its type.

    Both sides' errors are measured, each against its own float64 form.

    Args:
        trace: the recorded run.
        tx: the rule.
        weights: the places of torch's parameters in the port's.
        step: the step's number.
        opt_state: the rule's state before it; what it holds of torch's state is replaced by torch's.

    Raises:
        CannotWiden: the rule has no float64 form.
    """
    layout = Layout(weights, trace.static)
    given = rule_arguments(trace, layout, step, opt_state)
    both = _program(tx, layout.observed)(*given)
    reference = RuleJudge(trace, tx, weights).reference(step, opt_state)
    found = findings_of_precision(trace, step, weights, reference, both.narrow, both.wide)
    return [finding for finding in found if finding.jax > allowed(finding)]


def rule_arguments(trace: Trace, layout: Layout, step: int, opt_state: optax.OptState) -> tuple[Any, ...]:
    """Return what `torch_bridge.judge.rules.observed_rule` takes at a step: torch's gradients, state and parameters."""
    before, recorded = trace.before(step), trace.step(step)
    params = layout.weights.to_jax(in_phase(before, "parameter"))
    gradient = layout.weights.to_jax(in_phase(recorded, "gradient"), partial=True)
    return gradient, layout.with_torchs(opt_state, params, before), params, recorded.get("metric")


def findings_of_precision(
    trace: Trace,
    step: int,
    weights: Weights,
    reference: Reference,
    narrow: Mapping[str, Any],
    wide: Mapping[str, Any],
) -> list[PrecisionFinding]:
    """Compare a rule's quantities in its own types with those in float64; and torch's recorded ones with torch's."""
    before, recorded, found = trace.before(step), trace.step(step), []
    mine = {phase: weights.to_torch(tree) for phase, tree in narrow.items()}
    twins = {phase: weights.to_torch(tree) for phase, tree in wide.items()}
    for phase, ideals in reference.ideals.items():
        for name, ideal in ideals.items():
            if name not in mine.get(phase, {}) or name not in reference.roundoffs or f"{phase}/{name}" not in recorded:
                continue
            torch = np.asarray(recorded[f"{phase}/{name}"], np.float64)
            torch = torch - np.asarray(before[f"parameter/{name}"], np.float64) if phase == "parameter" else torch
            floor = reference.roundoffs[name]
            own = _relative(np.asarray(mine[phase][name]).astype(np.float64), twins[phase][name])
            found.append(PrecisionFinding(step, phase, name, _relative(torch, ideal.value), own, floor))
    return found


def _relative(value: Array, twin: Array) -> float:
    with np.errstate(invalid="ignore", over="ignore"):
        return norm(value - np.asarray(twin, np.float64)) / (norm(twin) or 1.0)


@functools.lru_cache(maxsize=16)
def _program(tx: optax.GradientTransformation, observed: Observed) -> Callable[..., Widened]:
    return beside(observed_rule(tx, observed))
