"""Update rules in ideal arithmetic: a rule whose bits differ from torch's, compared with it in float64.

From one state and one gradient both rules are evaluated in float64: the recorded recipe by torch's formulas, and the
candidate widened. What differs is fitted by small changes of the recipe's
hyperparameters, for two reasons: a program may hold its constants in the parameters' dtype, which changes them by its
rounding and is no fault; and a constant that is off by more is named, with how far off it is.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import optax

from funcsgd import observing
from funcsgd.averages import AverageState, averaged_params
from torch_bridge.judge.findings import norm, unit_roundoff
from torch_bridge.judge.ideal import Ideal, IdealGroup, changes, clipped, ideal_step
from torch_bridge.judge.lanes import CannotWiden, is_floating
from torch_bridge.judge.rule_findings import RuleFinding, Scale, average_finding, rule_finding
from torch_bridge.judge.widening import Reading, Widened, widened
from torch_bridge.replaying.layout import Layout
from torch_bridge.replaying.steps import Observed, shown
from torch_bridge.trace.trace import Array, Step, Trace, in_phase
from torch_bridge.translate.optimizers import adapter_named, with_numbers
from torch_bridge.translate.recipe import Clip
from torch_bridge.translate.recipe_data import recorded_recipe
from torch_bridge.translate.states import nodes_of, torch_state
from torch_bridge.weights import Weights

READINGS: tuple[Reading, ...] = ("retraced", "as traced", "as written")
"""How the numbers of a rule are read, in turn. By the last ``jnp.float32(0.999)`` is 0.999: float32 rounds both to one
number, but of ``1 - 0.999**t`` it takes five digits in the first step, and no change of one hyperparameter explains
that."""

_MEMORY = 1000
_SEEN = 1e-3  # the relative change of a number that a quantity must be able to show, to speak for it


class RuleJudge:
    """Judges an optax rule against a trace's recipe, one step at a time."""

    def __init__(self, trace: Trace, tx: optax.GradientTransformation, weights: Weights) -> None:
        """Prepare the programs; nothing is compiled yet."""
        self._trace, self._weights, self._layout = trace, weights, Layout(weights, trace.static)
        self._wide = _programs(tx, self._layout.observed)

    def judge(
        self,
        step: int,
        opt_state: optax.OptState,
        metric: Any = None,
        *,
        own_state: bool = False,
        rate_is_torchs: bool = False,
    ) -> list[RuleFinding]:
        """Compare the rules at one step of the trace.

        Args:
            step: its number.
            opt_state: the candidate's state before it; what it holds of torch's state is replaced by torch's.
            metric: what a rule that watches a metric is given.
            own_state: nothing is replaced: the state is the one that the candidate begins with, and is judged too.
            rate_is_torchs: the candidate's learning rate equals torch's, and explains no difference.

        Raises:
            CannotWiden: the rule has no float64 form.
        """
        recorded, reference = self._trace.step(step), self.reference(step, opt_state, rate_is_torchs=rate_is_torchs)
        best: list[RuleFinding] = []
        for named in self.evaluated(step, opt_state, metric, own_state=own_state):
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
        return best

    def reference(self, step: int, opt_state: optax.OptState, *, rate_is_torchs: bool = False) -> "Reference":
        """Return torch's quantities of a step, for a candidate with this state."""
        before = self._trace.before(step)
        params = self._weights.to_jax(in_phase(before, "parameter"))
        adapter = self._layout.observed.adapter
        known = torch_state(opt_state, params, adapter)
        hidden = any(in_phase(before, key) for key in adapter.state if key not in {*known, "started", *adapter.scalars})
        return reference_of(self._trace, step, before, rate_is_torchs=rate_is_torchs, hidden=hidden)

    def evaluated(
        self, step: int, opt_state: optax.OptState, metric: Any = None, *, own_state: bool = False
    ) -> Iterator[dict[str, dict[str, Array]]]:
        """Yield the candidate's quantities of a step in float64, phase -> name -> array, by each reading of numbers.

        Raises:
            CannotWiden: the rule has no float64 form by any reading.
        """
        before, recorded = self._trace.before(step), self._trace.step(step)
        params = self._weights.to_jax(in_phase(before, "parameter"))

        def entered(state: optax.OptState) -> optax.OptState:
            return state if own_state else self._layout.with_torchs(state, params, before)

        given = entered(opt_state)
        gradient = self._weights.to_jax(in_phase(recorded, "gradient"), partial=True)
        at = None
        if (unrounded := in_type_of(params, opt_state)) is not None:
            at = gradient, entered(unrounded), params, metric
        refusals: list[CannotWiden] = []
        for program in self._wide.values():
            try:
                wide = program(gradient, given, params, metric, at=at).wide
            except CannotWiden as error:
                refusals.append(error)
                continue
            yield {phase: self._weights.to_torch(tree) for phase, tree in wide.items()}
        if len(refusals) == len(self._wide):
            raise refusals[-1]


def in_type_of(params: Any, opt_state: Any) -> Any:
    """A state with room for torch's values as they are; None for one whose leaves are no narrower than parameters."""
    types = [np.dtype(leaf.dtype) for leaf in jax.tree.leaves(params) if is_floating(leaf)]
    widest = max(types, key=lambda dtype: dtype.itemsize, default=np.dtype(np.float32))
    leaves, structure = jax.tree.flatten(opt_state)
    narrow = [hasattr(x, "dtype") and is_floating(x) and x.dtype.itemsize < widest.itemsize for x in leaves]
    if not any(narrow):
        return None
    return jax.tree.unflatten(structure, [x.astype(widest) if n else x for x, n in zip(leaves, narrow, strict=True)])


@dataclass(frozen=True)
class Reference:
    """Torch's quantities at a step, and what is known beside them."""

    ideals: Mapping[str, Mapping[str, Ideal]]
    roundoffs: Mapping[str, float]
    offsets: Mapping[str, float]  # name -> norm of what the change of a parameter was subtracted from
    matching: frozenset[str]
    rounded: float
    shows_in: Mapping[str, str]  # torch's name of a number -> the phase that a wrong one shows in

    def scale(self, phase: str, name: str) -> Scale:
        """Return what is known of a quantity beside its value."""
        size = self.ideals[phase][name].size + (self.offsets.get(name, 0.0) if phase == "parameter" else 0.0)
        return Scale(size, self.roundoffs[name], self.matching, self.rounded, self.shows_in)


def reference_of(
    trace: Trace,
    step: int,
    before: Step,
    gradients: Mapping[str, Array] | None = None,
    *,
    rate_is_torchs: bool = False,
    offset: Mapping[str, Array] | None = None,
    hidden: bool = False,
) -> Reference:
    """Return what torch's recipe makes of a step in float64.

    Args:
        trace: the recorded run.
        step: the step's number.
        before: torch's state before it.
        gradients: name -> gradient to take; None takes torch's.
        rate_is_torchs: the candidate's learning rate equals torch's, and explains no difference.
        offset: what the candidate's change was subtracted from: its rounding is in the change.
        hidden: the candidate keeps what torch's state holds under names of its own: it was not replaced by torch's,
            and has the rounding of all steps before.
    """
    recorded, recipe = trace.step(step), recorded_recipe(trace.static)
    adapter = adapter_named(recipe.optimizer)
    groups = []
    for i, group in enumerate(recipe.groups):
        seen = {number: recorded.get(f"{number.quantity}/{i}") for number in adapter.numbers}
        options = with_numbers(
            group.options, {number: float(value) for number, value in seen.items() if value is not None}
        )
        # Relative changes; of the largest rate where a schedule ends near zero, of 1 where torch has none.
        largest = float(np.max(np.abs(trace.steps.get(f"learning_rate/{i}", options["lr"])), initial=0.0))
        groups.append(IdealGroup(group.names, options, {"lr": largest or 1.0}))
    params, own = in_phase(before, "parameter"), in_phase(recorded, "gradient")
    # Clipped in a way that was not recorded: what torch made of the gradients is known as rounded values alone.
    rounded = {} if isinstance(recipe.clip, Clip) else in_phase(recorded, "clip")
    taken = rounded or (own if gradients is None else gradients)
    shown = {name: Ideal(np.asarray(value, np.float64), size=norm(value)) for name, value in rounded.items()}
    if isinstance(recipe.clip, Clip):
        taken = clipped(taken, recipe.clip.arguments, recipe.clip.order)
        shown = {name: Ideal(value, size=norm(value)) for name, value in taken.items()}
    state = {key: in_phase(before, key) for key in adapter.state}
    ideals = ideal_step(recipe.optimizer, groups, params, state, taken)
    # What torch itself did not have at this step, such as a buffer without momentum, is not compared.
    ideals = {
        phase: {name: ideal for name, ideal in tree.items() if phase == "parameter" or f"{phase}/{name}" in recorded}
        for phase, tree in ideals.items()
    }
    # A walk of as many roundings as there were steps; an average forgets those before the last thousand or so.
    drift = 8 * min(step + 1, _MEMORY) ** 0.5 if hidden else 0.0
    return Reference(
        {"clip": shown, **ideals} if shown else ideals,
        {name: unit_roundoff(value.dtype) for name, value in own.items()},
        {name: norm(value) for name, value in (offset or {}).items()},
        frozenset({"lr"} if rate_is_torchs else ()),
        max(8.0 if rounded else 0.0, drift),
        {number.label: number.shows_in if number.option != "lr" else "learning_rate" for number in adapter.numbers},
    )


def findings_of(step: int, reference: Reference, wide: Mapping[str, Mapping[str, Array]]) -> list[RuleFinding]:
    """Compare a candidate's quantities, phase -> name -> float64 array, with torch's."""
    found: list[RuleFinding] = []
    for phase, ideals in reference.ideals.items():
        for name, ideal in ideals.items():
            if name in wide.get(phase, {}) and name in reference.roundoffs:
                first = all(finding.same for finding in found)  # what comes after it follows from it
                scale, value = reference.scale(phase, name), wide[phase][name]
                finding = rule_finding(step, phase, name, ideal, value, scale)
                if first and not finding.same:
                    scale = replace(scale, matching=scale.matching | _cleared(reference, found, name))
                    finding = rule_finding(step, phase, name, ideal, value, scale, blame=True)
                found.append(finding)
    return found


def _cleared(reference: Reference, found: list[RuleFinding], name: str) -> frozenset[str]:
    """The numbers that an earlier quantity of a parameter shows to be torch's: it moves with them, and agreed."""
    limits = {finding.phase: finding.limit for finding in found if finding.name == name}
    cleared = []
    for label, phase in reference.shows_in.items():
        if phase in limits and (ideal := reference.ideals[phase][name]).at is not None:
            moved = norm(ideal.columns().get(label, np.zeros(1)))
            if moved * _SEEN > limits[phase] * (norm(ideal.value) or 1.0):
                cleared.append(label)
    return frozenset(cleared)


@functools.lru_cache(maxsize=16)
def _programs(tx: optax.GradientTransformation, observed: Observed) -> dict[Reading, Callable[..., Widened]]:
    """A rule in float64; kept, since runs are often compared again."""
    step = observed_rule(tx, observed)
    return {reading: widened(step, reading=reading) for reading in READINGS}


def observed_rule(tx: optax.GradientTransformation, observed: Observed) -> Callable[..., dict[str, Any]]:
    """Return the function ``(gradient, opt_state, params, metric) -> quantities by phase`` of a rule's update."""
    rule, adapter = optax.with_extra_args_support(tx), observed.adapter

    def step(gradient: Any, opt_state: optax.OptState, params: Any, metric: Any) -> dict[str, Any]:
        extra = {} if metric is None else {"value": metric}
        with observing() as seen:
            updates, opt_state = rule.update(gradient, opt_state, params, **extra)
        found = {"parameter": changes(params, updates), **shown(seen, params, observed.phases)}
        state = torch_state(opt_state, params, adapter)
        found |= {key: tree for key, tree in state.items() if key not in ("started", *adapter.scalars)}
        if nodes_of(opt_state, AverageState):
            found["average"] = averaged_params(opt_state, optax.apply_updates(params, updates))
        return found

    return step


def agreement(findings: list[RuleFinding]) -> int:
    """The number of quantities that agree before the first that does not."""
    return next((position for position, finding in enumerate(findings) if not finding.same), len(findings))
