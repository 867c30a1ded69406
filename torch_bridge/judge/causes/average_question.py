"""What the average does in place of torch's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from torch_bridge.judge.causes import average
from torch_bridge.judge.causes.average import Followed, torchs
from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.causes.rule_cases import RuleCase
from torch_bridge.judge.causes.search import Agreement, Repairs
from torch_bridge.judge.findings import norm, unit_roundoff
from torch_bridge.trace.trace import Array, Trace
from torch_bridge.translate.recipe import AverageCall
from torch_bridge.translate.recipe_data import recorded_recipe

_EXPONENTIAL = ("average-decay", "average-from-zero", "average-swapped", "average-warmed", "average-decay-from-start")
_LIMIT = 8 * unit_roundoff(np.float32)  # the verdict's: torch's own average is known as rounded


@dataclass(frozen=True)
class AverageQuestion:
    """Why an average differs, at some steps.

    Attributes:
        cases: each parameter's average at each step, with the port's new one.
    """

    cases: Sequence[tuple[Followed, Array]]

    def entries(self) -> Sequence[Entry]:
        """Those of the kind of torch's average."""
        return [entry for entry in average.ENTRIES if self.cases[0][0].decay or entry.name not in _EXPONENTIAL]

    def agreement(self, repairs: Repairs) -> Agreement:
        """Compare the port's averages with torch's formula, changed."""
        share = 0.0
        for i, (followed, mine) in enumerate(self.cases):
            gap = norm(_made(followed, repairs) - mine) / (norm(mine) or 1.0)
            if not gap <= _LIMIT:
                return Agreement(i, False, gap, np.inf, i)
            share = max(share, gap / _LIMIT)
        return Agreement(len(self.cases), True, 0.0, share, len(self.cases))

    def residual(self, repairs: Repairs) -> Array:
        """The changed formula less the port's averages, relative."""
        return np.concatenate([np.ravel(_made(x, repairs) - mine) / (norm(mine) or 1.0) for x, mine in self.cases])

    def correction(self, repairs: Repairs) -> float:
        """Nothing else is held in float32."""
        del repairs
        return 0.0

    def starts(self, entry: Entry) -> Sequence[float]:
        """Torch's decay, and the entry's."""
        assert entry.start is not None
        return [self.cases[0][0].decay, entry.start]

    def torchs(self, number: str) -> float | None:
        """Torch's decay."""
        return self.cases[0][0].decay if number else None


def _made(x: Followed, repairs: Repairs) -> Array:
    for entry, constant in repairs:
        made: Array = entry.repair(x, constant)
        return made
    return torchs(x)


def average_question(trace: Trace, cases: Sequence[RuleCase]) -> AverageQuestion | None:
    """Return the question of a run's average; None where there is none to compare."""
    call = recorded_recipe(trace.static).average
    if not isinstance(call, AverageCall):
        return None
    decay = float(call.options.get("decay", 0.0))
    found = [(replace(x, decay=decay), mine) for case in cases for x, mine in _followed(trace, case)]
    return AverageQuestion(found) if found else None


def _followed(trace: Trace, case: RuleCase) -> Iterator[tuple[Followed, Array]]:
    before = trace.before(case.step)
    for name, mine in case.port.get("average", {}).items():
        key = f"average/{name}"
        if name not in case.tree.leaves or not trace.has(key, case.step):
            continue
        p = case.tree.leaves[name].p
        n = sum(trace.has(key, t) for t in range(case.step))
        yield Followed(np.asarray(before.get(key, p), np.float64), p, p + case.port["parameter"][name], n, 0.0), mine
