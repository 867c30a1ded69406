"""Update rules in ideal arithmetic: a rule that does not promise bits, judged against torch's in float64.

From one state and one gradient both rules are evaluated in float64: the recorded recipe by torch's formulas, and the
candidate widened. What differs is fitted by small changes of the recipe's
hyperparameters, for two reasons: a program may hold its constants in the parameters' dtype, which changes them by its
rounding and is no fault; and a constant that is off by more is named, with how far off it is.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optax

from funcsgd import AverageState, averaged_params, observing
from torch_bridge.judge.findings import norm, unit_roundoff
from torch_bridge.judge.lanes import CannotWiden
from torch_bridge.judge.recipe import Constants, Ideal, ideal_step
from torch_bridge.judge.rule_findings import RuleFinding, Scale, average_finding, rule_finding
from torch_bridge.judge.widening import Reading, Widened, widened
from torch_bridge.parity.steps import phases_of
from torch_bridge.parity.trace import Array, Step, Trace, in_phase
from torch_bridge.translate.states import momentum_buffers, nodes_of, with_averages, with_momentum_buffers
from torch_bridge.weights import Weights

_SHOWN = ("clip", "weight_decay", "momentum", "parameter")


class RuleJudge:
    """Judges an optax rule against a trace's recipe, one step at a time."""

    def __init__(self, trace: Trace, tx: optax.GradientTransformation, weights: Weights) -> None:
        """Prepare the programs; nothing is compiled yet."""
        self._trace, self._weights = trace, weights
        self._wide = _programs(tx)

    def judge(
        self, step: int, opt_state: optax.OptState, metric: Any = None, *, rate_is_torchs: bool = False
    ) -> list[RuleFinding]:
        """Compare the rules at one step of the trace.

        Args:
            step: its number.
            opt_state: the candidate's state before it; its momentum buffers are replaced by torch's.
            metric: what a rule that watches a metric is given.
            rate_is_torchs: the candidate's learning rate was seen to be torch's, and explains no difference.

        Raises:
            CannotWiden: the rule has no float64 form.
        """
        before, recorded = self._trace.before(step), self._trace.step(step)
        reference = reference_of(self._trace, step, before, rate_is_torchs=rate_is_torchs)
        params = self._weights.to_jax(in_phase(before, "parameter"))
        buffers = self._weights.to_jax(in_phase(before, "momentum"), partial=True)
        opt_state = with_momentum_buffers(opt_state, params, buffers)
        if averages := in_phase(before, "average"):
            opt_state = with_averages(opt_state, self._weights.to_jax(averages))
        gradient = self._weights.to_jax(in_phase(recorded, "gradient"), partial=True)
        best: list[RuleFinding] = []
        refusal: CannotWiden | None = None
        for program in self._wide.values():
            try:
                wide = program(gradient, opt_state, params, metric).wide
            except CannotWiden as error:
                refusal = error
                continue
            named = {phase: self._weights.to_torch(tree) for phase, tree in wide.items()}
            findings = findings_of(step, reference, named)
            findings += [
                average_finding(step, name, value, named["average"][name])
                for name, value in in_phase(recorded, "average").items()
                if name in named.get("average", {})
            ]
            if not best or agreement(findings) > agreement(best):
                best = findings
            if all(finding.same for finding in findings):
                break
        if not best and refusal is not None:
            raise refusal
        return best


@dataclass(frozen=True)
class Reference:
    """Torch's quantities at a step, and what is known beside them."""

    ideals: Mapping[str, Mapping[str, Ideal]]
    sizes: Mapping[str, tuple[float, float]]  # name -> norm of the terms that are added up; of those of the change
    roundoffs: Mapping[str, float]
    innocent: frozenset[str]
    rounded: bool

    def scale(self, phase: str, name: str) -> Scale:
        """Return what is known of a quantity beside its value."""
        size = self.sizes[name][phase == "parameter"]
        return Scale(size, self.roundoffs[name], self.innocent, self.rounded)


def reference_of(
    trace: Trace,
    step: int,
    before: Step,
    gradients: Mapping[str, Array] | None = None,
    *,
    rate_is_torchs: bool = False,
    offset: Mapping[str, Array] | None = None,
) -> Reference:
    """Return what torch's recipe makes of a step in float64.

    Args:
        trace: the recorded run.
        step: the step's number.
        before: torch's state before it.
        gradients: name -> gradient to take; None takes torch's.
        rate_is_torchs: the candidate's learning rate was seen to be torch's, and explains no difference.
        offset: what the candidate's change was subtracted from: its rounding is in the change.
    """
    recorded = trace.step(step)
    largest = [
        float(np.max(np.abs(trace.steps.get(f"learning_rate/{i}", 0.0)), initial=0.0))
        for i in range(len(trace.static["groups"]))
    ]
    groups = []
    for i, group in enumerate(trace.static["groups"]):
        rate = float(recorded.get(f"learning_rate/{i}", 0.0))
        momentum = float(recorded.get(f"momentum_in_force/{i}", group["momentum"]))
        decay = float(group["weight_decay"])
        # Relative changes; of the largest rate where a schedule ends near zero, of 1 where torch has no decay.
        units = {"lr": largest[i], "momentum": momentum, "weight_decay": decay or 1.0}
        of = Constants(rate, momentum, decay, group["dampening"], group["nesterov"], group["maximize"], units)
        groups.append((group["names"], of))
    params, buffers = in_phase(before, "parameter"), in_phase(before, "momentum")
    own = in_phase(recorded, "gradient")
    clip = trace.static.get("clip")
    # Clipped in a way that the recorder was not told: what torch made of the gradients is known as rounded values
    # alone.
    clipped = in_phase(recorded, "clip") if clip is None else {}
    taken = clipped or (own if gradients is None else gradients)
    ideals = ideal_step(groups, clip, params, buffers, taken)
    if clipped:
        ideals["clip"] = {name: Ideal(np.asarray(value, np.float64), dict) for name, value in clipped.items()}
    sizes = {}
    for names, of in groups:
        for name in names:
            if name in taken:
                terms = norm(taken[name]) + of.weight_decay * norm(params[name])
                terms += of.momentum * norm(buffers[name]) if name in buffers else 0.0
                sizes[name] = terms, of.lr * terms + (0.0 if offset is None else norm(offset[name]))
    roundoffs = {name: unit_roundoff(value.dtype) for name, value in own.items()}
    return Reference(ideals, sizes, roundoffs, frozenset({"lr"} if rate_is_torchs else ()), bool(clipped))


def findings_of(step: int, reference: Reference, wide: Mapping[str, Mapping[str, Array]]) -> list[RuleFinding]:
    """Compare a candidate's quantities, phase -> name -> float64 array, with torch's."""
    return [
        rule_finding(step, phase, name, ideal, wide[phase][name], reference.scale(phase, name))
        for phase in _SHOWN
        if phase in wide and phase in reference.ideals
        for name, ideal in reference.ideals[phase].items()
        if name in wide[phase] and name in reference.roundoffs
    ]


@functools.lru_cache(maxsize=16)
def _programs(tx: optax.GradientTransformation) -> dict[Reading, Callable[..., Widened]]:
    """A rule in float64; kept, since runs are often compared again."""
    step = _observed_rule(tx)
    return {reading: widened(step, reading=reading) for reading in ("retraced", "as traced")}


def _observed_rule(tx: optax.GradientTransformation) -> Callable[..., dict[str, Any]]:
    rule = optax.with_extra_args_support(tx)

    def step(gradient: Any, opt_state: optax.OptState, params: Any, metric: Any) -> dict[str, Any]:
        extra = {} if metric is None else {"value": metric}
        with observing() as seen:
            updates, opt_state = rule.update(gradient, opt_state, params, **extra)
        observed = {"parameter": updates, **phases_of(seen, params)}
        if (momentum := momentum_buffers(opt_state, params)) is not None:
            observed["momentum"] = momentum[0]
        if nodes_of(opt_state, AverageState):
            observed["average"] = averaged_params(opt_state, optax.apply_updates(params, updates))
        return observed

    return step


def agreement(findings: list[RuleFinding]) -> int:
    """How many quantities agree before the first that does not."""
    return next((position for position, finding in enumerate(findings) if not finding.same), len(findings))
