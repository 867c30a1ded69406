"""Another number in a rule that is not written down in pieces, as NAdam's: torch's own is evaluated with it."""

from collections.abc import Iterator, Mapping, Sequence

from torch_bridge.judge.causes import decay, moments, momentum, schedule, squares
from torch_bridge.judge.causes.cause import Cause
from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.causes.rule_cases import RuleCase
from torch_bridge.judge.findings import norm
from torch_bridge.judge.number_fit import NumberFit
from torch_bridge.judge.rule_findings import RuleFinding

OTHER = Entry(
    "hyperparameter-value", "moments", "A number that this optimizer alone has is another one.", "{torch}, as in torch",
    lambda ideal, changes: ideal.at(changes), "{words} is {constant}, torch has {torch}",
)  # fmt: skip
"""``repair(ideal, changes)`` is a quantity of torch's rule with other numbers, by their relative changes."""
ENTRIES = (OTHER,)

_NUMBERS = {"rate-value": "lr", "decay-value": "weight_decay"}
_ENTRIES: Mapping[str, Entry] = {
    _NUMBERS.get(entry.name, entry.number): entry
    for family in (decay, momentum, moments, squares, schedule)
    for entry in family.ENTRIES
    if entry.name.endswith("-value")
}
"""Torch's name of a number -> the entry on another value of it."""
_MISSING = next(entry for entry in decay.ENTRIES if entry.name == "decay-missing")
_EXACT = 1e-6
"""The share of the limit to which a number is fitted: other quantities may depend on it more."""
_NONE = 1e-6
"""The share of a number that may be left of one that is missing."""


def other_number(cases: Sequence[RuleCase], before: float) -> list[Cause]:
    """Return the cause, if one number of torch's rule makes all steps agree once it is the port's.

    Args:
        cases: the steps; the first that differs stands first.
        before: the largest distance.
    """
    for label, change in _fitted(cases):
        findings = [finding for case in cases for finding in case.moved({label: change})]
        if not all(finding.same for finding in findings):
            continue
        torchs = next(leaf.numbers[label] for leaf in cases[0].tree.leaves.values())
        entry = _MISSING if label == "weight_decay" and abs(change + 1) < _NONE else _ENTRIES.get(label, OTHER)
        own = 1 + change if label == "lr" else torchs * (1 + change)
        sentence, fix = entry.worded(own, torchs, label)
        share = max(finding.distance / finding.limit if finding.limit else 0.0 for finding in findings)
        steps = tuple(sorted(case.step for case in cases))
        number = label if entry is OTHER else entry.number or "constant"
        constants = {number: own, "torch": torchs}
        return [Cause(entry.name, entry.family, sentence, fix, constants, steps, before, share, len(findings))]
    return []


def _fitted(cases: Sequence[RuleCase]) -> Iterator[tuple[str, float]]:
    """The numbers of which each alone explains a phase of the first step that differs, with their changes."""
    case = cases[0]
    first: dict[str, RuleFinding] = {}
    for finding in case.moved({}):
        if not finding.same:
            first.setdefault(finding.phase, finding)
    for phase, finding in first.items():
        ideal, value = case.reference.ideals[phase][finding.name], case.port[phase][finding.name]
        limit = finding.limit * (norm(ideal.value) or 1.0)
        held = 4 * case.scale(phase, finding.name, ideal).roundoff
        for label in ideal.columns():
            fit = NumberFit(ideal, value, _EXACT * limit, held)
            if fit.with_free(label) <= limit:
                yield label, fit.changes[label]
