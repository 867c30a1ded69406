"""The steps at which a rule is explained: torch's inputs and the port's results, in float64."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from torch_bridge.judge.causes.rule import TORCHS, Leaf, Quantities, Rule, Tree
from torch_bridge.judge.findings import HELD, SPARE, norm, unit_roundoff
from torch_bridge.judge.ideal import Ideal
from torch_bridge.judge.number_fit import NumberFit
from torch_bridge.judge.rule_findings import RuleFinding, Scale, rule_finding
from torch_bridge.judge.rules import Reference, RuleJudge
from torch_bridge.replaying.replay import Replay
from torch_bridge.trace.keep import Keep
from torch_bridge.trace.phases import phase_of
from torch_bridge.trace.trace import Array, Trace, in_phase
from torch_bridge.translate.optimizers import adapter_named
from torch_bridge.translate.recipe import Clip
from torch_bridge.translate.recipe_data import recorded_recipe

if TYPE_CHECKING:
    from torch_bridge.judge.port import Port

_STEP = 1e-6  # relative change of a number, for derivatives by central differences
_FAR = 1e-2
CONSTANT = "constant"
_SAME = 1e-6  # of two forms of one rule, by far more than float64 rounds

_NUMBERS = ("lr", "momentum", "weight_decay", "betas[0]", "betas[1]", "eps", "alpha", "lr_decay")


@dataclass(frozen=True)
class RuleCase:
    """One step of a run.

    Attributes:
        step: its number.
        tree: torch's inputs.
        port: the port's quantities, phase -> name -> float64 array: its state after the step, and its change of the
            parameters.
        reference: torch's quantities, and the limits.
    """

    step: int
    tree: Tree
    port: Mapping[str, Mapping[str, Array]]
    reference: Reference

    @property
    def keys(self) -> list[tuple[str, str]]:
        """The quantities that both sides have, in causal order."""
        return [
            (phase, name)
            for phase, ideals in self.reference.ideals.items()
            for name in ideals
            if name in self.port.get(phase, {}) and name in self.reference.roundoffs
        ]

    def made(self, rule: Rule, changes: Mapping[str, float] | None = None) -> dict[str, Quantities]:
        """Return what a rule makes of torch's inputs, name -> phase -> array; with numbers changed relatively."""
        leaves = {name: x if not changes else _changed(x, changes) for name, x in self.tree.leaves.items()}
        tree = replace(self.tree, leaves=leaves)
        with np.errstate(all="ignore"):
            gradients = rule.clip(tree)
            return {name: rule.step(replace(x, g=gradients[name])) for name, x in leaves.items()}

    @functools.cached_property
    def is_by_rule(self) -> bool:
        """True if `TORCHS` makes of torch's inputs what the recorded optimizer's own rule makes of them."""
        try:
            made = self.made(TORCHS)
        except KeyError:  # an optimizer with other numbers
            return False
        return all(
            norm(made[name][phase] - self.reference.ideals[phase][name].value) <= _SAME * size
            for phase, name in self.keys
            if phase in made[name] and (size := norm(self.reference.ideals[phase][name].value))
        )

    def ideals(self, rule: Rule, moved_rule: Callable[[float], Rule] | None = None) -> Iterator[tuple[str, str, Ideal]]:
        """Yield the quantities of a rule in causal order, with their dependence on its numbers.

        Args:
            rule: torch's, with or without faults.
            moved_rule: the rule with its fitted constants changed by a share, if it has any: like torch's numbers, the
                port may hold them in float32.
        """
        made = self.made(rule)

        @functools.cache
        def moved(changes: tuple[tuple[str, float], ...]) -> dict[str, Quantities]:
            shares = dict(changes)
            other = moved_rule(shares[CONSTANT]) if moved_rule and shares.get(CONSTANT) else rule
            return self.made(other, shares)

        def ideal(phase: str, name: str) -> Ideal:
            def at(changes: Mapping[str, float]) -> Array:
                return moved(tuple(sorted(changes.items())))[name][phase]

            def columns() -> dict[str, Array]:
                numbers = [label for label in _NUMBERS if self.tree.leaves[name].numbers.get(label)]
                labels = [*numbers, CONSTANT] if moved_rule else numbers
                return {label: (at({label: _STEP}) - at({label: -_STEP})) / (2 * _STEP) for label in labels}

            return Ideal(made[name][phase], columns, at, self.reference.ideals[phase][name].size)

        known = {name for name, leaf in self.tree.leaves.items() if not np.isnan(rule.enters(leaf).lr)}
        for phase, name in self.keys:
            if phase in made[name] and name in known:
                yield phase, name, ideal(phase, name)

    def scale(self, phase: str, name: str, ideal: Ideal) -> Scale:
        """Return what is known of a quantity beside its value."""
        scale = self.reference.scale(phase, name)
        return replace(scale, size=max(scale.size, norm(ideal.value)))

    def findings(self, rule: Rule, moved_rule: Callable[[float], Rule] | None = None) -> Iterator[RuleFinding]:
        """Compare the port's quantities with those of a rule, in causal order; see `ideals`."""
        for phase, name, ideal in self.ideals(rule, moved_rule):
            scale, value = self.scale(phase, name, ideal), self.port[phase][name]
            if norm(value - ideal.value) > _FAR * scale.size:  # no rounding of any number comes near
                ideal = replace(ideal, columns=dict, at=None)
            yield rule_finding(self.step, phase, name, ideal, value, scale)

    def moved(self, changes: Mapping[str, float]) -> Iterator[RuleFinding]:
        """Compare the port's quantities with those of torch's rule with other numbers, in causal order.

        Args:
            changes: torch's name of a number -> its change, relative to the number's unit.
        """
        for phase, name in self.keys:
            ideal = self.reference.ideals[phase][name]
            ideal = _moved(ideal, changes) if changes else ideal
            yield rule_finding(self.step, phase, name, ideal, self.port[phase][name], self.scale(phase, name, ideal))

    def correction(self, rule: Rule, moved_rule: Callable[[float], Rule]) -> float:
        """Return by what share the constants of a rule are off, measured where they show most."""
        most, share = 0.0, 0.0
        for phase, name, ideal in self.ideals(rule, moved_rule):
            scale, value = self.scale(phase, name, ideal), self.port[phase][name]
            column, size = norm(ideal.columns()[CONSTANT]), scale.size or 1.0
            if column / size > most and norm(value - ideal.value) <= _FAR * size:
                rounding = SPARE * unit_roundoff(np.float64) * size
                fit = NumberFit(ideal, value, rounding, 4 * scale.roundoff)
                fit.with_free(CONSTANT)
                most, share = column / size, fit.changes.get(CONSTANT, 0.0)
        return share


def _moved(ideal: Ideal, changes: Mapping[str, float]) -> Ideal:
    """A quantity of torch's rule with other numbers, and its dependence on all of them there."""
    of = ideal.at
    if of is None:
        return ideal

    def at(more: Mapping[str, float]) -> Array:
        return of({**changes, **{label: changes.get(label, 0.0) + change for label, change in more.items()}})

    def columns() -> dict[str, Array]:
        return {label: (at({label: _STEP}) - at({label: -_STEP})) / (2 * _STEP) for label in ideal.columns()}

    return Ideal(at({}), columns, at, ideal.size)


def _changed(x: Leaf, changes: Mapping[str, float]) -> Leaf:
    numbers = {label: value * (1 + changes.get(label, 0.0)) for label, value in x.numbers.items()}
    return replace(x, numbers=numbers, rates=x.rates * (1 + changes.get("lr", 0.0)))


def tree_of(trace: Trace, step: int, gradients: Mapping[str, Array], reference: Reference) -> Tree:
    """Return torch's inputs to its rule at a step."""
    before, recorded, recipe = trace.before(step), trace.step(step), recorded_recipe(trace.static)
    adapter = adapter_named(recipe.optimizer)
    groups = []
    for i, group in enumerate(recipe.groups):
        seen = {n.label: recorded.get(f"{n.quantity}/{i}", n.of(group.options)) for n in adapter.numbers}
        groups.append({label: float(value) for label, value in seen.items()})
    state = {key: in_phase(before, key) for key in adapter.state}
    leaves = {}
    for i, group in enumerate(recipe.groups):
        flags = {flag: group.options.get(flag) for flag in adapter.flags}
        flags["decoupled"] = adapter.fixed.get("decoupled_weight_decay", False)
        rates = np.asarray(trace.steps.get(f"learning_rate/{i}", [groups[i]["lr"]] * trace.n_steps), np.float64)
        for name in group.names:
            if name not in gradients:
                continue
            held = {key: np.asarray(tree[name], np.float64) for key, tree in state.items() if name in tree}
            sign = -1.0 if flags.get("maximize") else 1.0
            leaves[name] = Leaf(
                p=np.asarray(before[f"parameter/{name}"], np.float64),
                g=sign * np.asarray(gradients[name], np.float64),
                state=held,
                t=int(held["step"]) + 1 if "step" in held else 1,
                step=step,
                rates=rates,
                numbers=groups[i],
                flags=flags,
                groups=tuple(groups),
            )
    clip = dict(recipe.clip.arguments) if isinstance(recipe.clip, Clip) else {}
    shown = {name: ideal.value for name, ideal in reference.ideals.get("clip", {}).items()}
    return Tree(leaves, clip, {name: shown.get(name, leaf.g) for name, leaf in leaves.items()})


def rule_cases(port: "Port", steps: Sequence[int]) -> list[RuleCase]:
    """Run a port's rule on torch's gradients, and evaluate it in float64 at some steps.

    Raises:
        CannotWiden: the rule has no float64 form.
    """
    assert port.tx is not None
    trace, weights = port.trace, port.torch_weights()
    side = Replay(
        trace.initial, port.tx, header=trace.static, drive="update", weights=port.weights, opt_state=port.opt_state,
        keep=Keep("digest", norms=False),
    )  # fmt: skip
    judge = RuleJudge(trace, port.tx, weights)
    cases: list[RuleCase] = []
    for t in range(max(steps, default=-1) + 1):
        recorded, opt_state = trace.step(t), side.state[1]
        side.step({}, recorded)
        if t not in steps:
            continue
        reference = judge.reference(t, opt_state)
        tree = tree_of(trace, t, in_phase(recorded, "gradient"), reference)
        ways = [RuleCase(t, tree, named, reference) for named in judge.evaluated(t, opt_state, recorded.get("metric"))]
        cases.append(max(ways, key=agreeing))
    return cases


def agreeing(case: RuleCase) -> int:
    """The number of quantities that agree with torch's rule as it is."""
    return sum(finding.same for finding in (case.findings(TORCHS) if case.is_by_rule else case.moved({})))


def steps_to_explain(trace: Trace, bad: Sequence[int], most: int = 8) -> list[int]:
    """Return steps around the first that differ, some further on, and those before: all of them have to agree."""
    first, last = min(bad), trace.n_steps - 1
    wanted = [first, first + 1, first + 2, 0, first - 1, 1, last, (first + last) // 2]
    changes = [
        int(np.flatnonzero(np.diff(np.asarray(rows, np.float64)))[0]) + 1
        for key, rows in trace.steps.items()
        if phase_of(key) == "learning_rate" and np.any(np.abs(np.diff(rows)) > HELD * np.abs(rows[0]))
    ]
    found = dict.fromkeys(t for t in [*wanted, *changes, *bad] if 0 <= t <= last)
    return sorted(list(found)[:most])
