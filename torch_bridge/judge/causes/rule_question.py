"""What in torch's rule has to be changed for the port's to come out."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from torch_bridge.judge.causes import clip, decay, moments, momentum, schedule, squares
from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.causes.rule import TORCHS, Rule
from torch_bridge.judge.causes.rule_cases import RuleCase
from torch_bridge.judge.causes.search import Agreement, Repairs
from torch_bridge.judge.findings import norm
from torch_bridge.trace.trace import Array

_OF_VALUES = ("clip-of-the-norm", "clip-of-the-norm-without-epsilon")
_OF_NORMS = tuple(e.name for e in clip.ENTRIES if e.name not in ("clip-missing", "clip-value", *_OF_VALUES))
_OF_NORM_2 = ("clip-by-norm-2", "clip-by-norm-2-without-epsilon")
_MULTIPLES = (1.0, 0.5, 2.0, 0.1, 10.0, 0.01, 100.0)


def planted(repairs: Repairs, share: float = 0.0) -> Rule:
    """Return torch's rule with faults planted in it, their constants changed by a share."""
    rule = TORCHS
    for entry, constant in repairs:
        rule = entry.repair(rule, constant * (1 + share))
    return rule


@dataclass(frozen=True)
class RuleQuestion:
    """Why a rule differs, at some steps; the first of them that differs stands first.

    Attributes:
        cases: the steps.
    """

    cases: Sequence[RuleCase]

    def entries(self) -> Sequence[Entry]:
        """The entries that mean something for this recipe."""
        leaf = next(iter(self.cases[0].tree.leaves.values()))
        averages, nesterov, amsgrad = "betas[0]" in leaf.numbers, leaf.flags.get("nesterov"), leaf.flags.get("amsgrad")
        decays = any(group.get("weight_decay") for group in leaf.groups)
        scheduled = any(x.rates.min() != x.rates.max() for x in self.cases[0].tree.leaves.values())
        groups = {group.get("weight_decay", 0.0) for group in leaf.groups}
        how = self.cases[0].tree.clip
        left_out = {
            "clip-extra" if how else "",
            *(_OF_NORMS if "clip_value" in how else _OF_VALUES),
            *(_OF_NORM_2 if how.get("norm_type", 2.0) == 2 else ()),
            "decay-decoupled" if leaf.flags["decoupled"] else "decay-coupled",  # torch's own
            *(("decay-inverted", "decay-everywhere") if len(groups) == 1 else ()),
            "nesterov-extra" if nesterov else "nesterov-missing",
            *(() if amsgrad else ("amsgrad-missing", "amsgrad-of-corrected")),
        }
        state = list(moments.ENTRIES if averages else momentum.ENTRIES if leaf.momentum else ())
        state += squares.entries(leaf) if "eps" in leaf.numbers and not averages else []
        found = [
            *(entry for entry in clip.ENTRIES if how or entry.name == "clip-extra"),
            *(entry for entry in decay.ENTRIES if decays or entry.name == "decay-extra"),
            *state,
            *(entry for entry in momentum.ENTRIES if entry.name == "ascent" and entry not in state),
            *(entry for entry in schedule.ENTRIES if scheduled or entry.name == "rate-value"),
        ]
        return [entry for entry in found if entry.name not in left_out]

    def agreement(self, repairs: Repairs) -> Agreement:
        """Compare the port's quantities with those of torch's rule, changed."""
        rule, leading, share = planted(repairs), 0, 0.0
        moved = functools.partial(planted, repairs) if any(entry.fitted for entry, _ in repairs) else None
        for case in self.cases:
            for finding in case.findings(rule, moved):
                if not finding.same:
                    return Agreement(leading, False, finding.distance, np.inf, leading)
                leading += 1
                share = max(share, finding.distance / finding.limit if finding.limit else 0.0)
        enough = 2 * leading >= sum(len(case.keys) for case in self.cases)  # where rates beyond the run are not known
        return Agreement(leading, enough, 0.0, share, leading)

    def residual(self, repairs: Repairs) -> Array:
        """The port's quantities less those of the changed rule, each relative to its size."""
        rule, parts = planted(repairs), []
        for case in self.cases[:4]:
            made = case.made(rule)
            for phase, name in case.keys:
                if phase in made[name]:
                    value = case.port[phase][name]
                    parts.append(np.ravel(made[name][phase] - value) / (norm(value) or 1.0))
        gap = np.concatenate(parts)
        return np.asarray(gap[~np.isnan(gap)])

    def correction(self, repairs: Repairs) -> float:
        """By what share the constants are off, at the step that shows it best."""
        moved = functools.partial(planted, repairs)
        return next((share for case in self.cases if (share := case.correction(planted(repairs), moved))), 0.0)

    def starts(self, entry: Entry) -> Sequence[float]:
        """The entry's own start, multiples of torch's number, and of the rate."""
        assert entry.start is not None
        own = self.torchs(entry.number)
        starts = [entry.start] if own is None else [own * m for m in _MULTIPLES if own] + [entry.start]
        rates = next(iter(self.cases[0].tree.leaves.values())).rates
        if entry.name == "schedule-floor":
            starts = [float(np.quantile(rates, q)) for q in (0.2, 0.4, 0.6, 0.8)]
        if entry.family == "clip":
            sizes = [float(np.sqrt(sum(norm(g) ** 2 for g in case.tree.gradients.values()))) for case in self.cases]
            starts += [0.5 * min(sizes), 0.9 * max(sizes)]
        return starts

    def torchs(self, number: str) -> float | None:
        """Torch's value of a hyperparameter."""
        if number == "max_norm":
            limit = self.cases[0].tree.clip.get("max_norm", self.cases[0].tree.clip.get("clip_value"))
            return None if limit is None else float(limit)
        values = [leaf.numbers[number] for leaf in self.cases[0].tree.leaves.values() if number in leaf.numbers]
        return next((value for value in values if value), values[0] if values else None)
