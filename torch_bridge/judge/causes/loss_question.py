"""What has to be undone in a port's batch, loss and gradients for torch's numbers to come out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from torch_bridge.judge.causes import batch, outcome
from torch_bridge.judge.causes.batch import Batch
from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.causes.loss_cases import LossCase
from torch_bridge.judge.causes.outcome import Outcome
from torch_bridge.judge.causes.search import Agreement, Repairs
from torch_bridge.judge.findings import norm, unit_roundoff
from torch_bridge.trace.trace import Array

_OF_BATCH = {entry.name for entry in batch.ENTRIES}
_NEAR = 1e-4
_SHOWN = 1e-9  # the share of a quantity that rounding may be, for the rest of it to show anything
"""A relative distance that the rounding of a batch may come to."""
_DRAWS = 4


@dataclass(frozen=True)
class LossQuestion:
    """Why loss or gradients differ, at some steps.

    Attributes:
        cases: the steps.
    """

    cases: Sequence[LossCase]

    def entries(self) -> Sequence[Entry]:
        """Those of numbers, and those of the examples that apply to this batch."""
        first = self.cases[0].batch
        of_batch = [entry for entry in batch.ENTRIES if entry.repair(first, entry.start or 1.0) is not None]
        wide = any(case.outcome().width > 1 for case in self.cases)
        labels = all(case.batch.classes for case in self.cases)
        left_out = {"" if labels else "label-smoothing"}
        of_numbers = [entry for entry in outcome.ENTRIES if wide or "over" not in entry.name]
        return [*(entry for entry in of_numbers if entry.name not in left_out), *of_batch]

    def repaired(self, case: LossCase, repairs: Repairs) -> Outcome | None:
        """Return the port's outcome with faults undone, those of its batch first; None where one does not apply."""
        of_batch = tuple(each for each in repairs if each[0].name in _OF_BATCH)
        given = self.given(case, of_batch)
        if of_batch and given is None:
            return None
        return _undone(case.outcome(given), tuple(each for each in repairs if each not in of_batch))

    def given(self, case: LossCase, of_batch: Repairs) -> Batch | None:
        """Return the batch with its faults undone; None where there are none, or one does not apply."""
        given = None
        for entry, constant in of_batch:
            given = entry.repair(given or case.batch, constant)
            if given is None:
                return None
        return given

    def agreement(self, repairs: Repairs) -> Agreement:
        """Compare torch's loss and gradients with the port's, repaired."""
        leading, share = 0, 0.0
        for case in self.cases:
            repaired = self.repaired(case, repairs)
            if repaired is None:
                return Agreement(0, False, np.inf, np.inf, 0)
            for key, value in case.values(repaired).items():
                reference = np.asarray(case.reference[key], np.float64)
                gap, limit = norm(value - reference), case.limits[key]
                if limit < gap <= _NEAR * norm(reference):
                    limit += self.rounding(case, repairs).get(key, 0.0)
                if not gap <= limit:
                    return Agreement(leading, False, gap / (norm(reference) or 1.0), np.inf, leading)
                leading += 1
                share = max(share, gap / limit if limit else 0.0)
        return Agreement(leading, leading > 0, 0.0, share, leading)

    def rounding(self, case: LossCase, repairs: Repairs) -> dict[str, float]:
        """By how much each quantity moves for the rounding of a batch that was computed in float32, by key.

        ``x * 255`` as the port is given it was rounded, and so is not 255 times torch's ``x``.
        """
        of_batch = tuple((entry, constant) for entry, constant in repairs if entry.name in _OF_BATCH)
        given = self.given(case, of_batch)
        inputs = of_batch and given is not None and np.issubdtype(given.x.dtype, np.floating)
        if not inputs or given is None or _same_digits(case.batch.x, given.x):
            return {}
        x, u = case.batch.x, unit_roundoff(np.float32)
        moved = self.given(replace(case, batch=replace(case.batch, x=x * (1 + u))), of_batch)
        assert moved is not None  # it has the same shape
        noise = np.abs(moved.x - given.x) + u * np.abs(given.x)
        rest = tuple(each for each in repairs if each not in of_batch)
        start, furthest = case.values(_undone(case.outcome(given), rest)), dict[str, float]()
        for draw in range(_DRAWS):
            signs = np.random.default_rng(draw).choice((-1.0, 1.0), x.shape)
            other = _undone(case.outcome(replace(given, x=given.x + signs * noise)), rest)
            for key, value in case.values(other).items():
                furthest[key] = max(furthest.get(key, 0.0), norm(value - start[key]))
        return {key: 2 * distance for key, distance in furthest.items()}

    def residual(self, repairs: Repairs) -> Array:
        """The repaired port's quantities less torch's, each relative to its size, as far as that is no rounding."""
        parts = []
        for case in self.cases[:2]:
            repaired = self.repaired(case, repairs)
            if repaired is None:
                return np.full(1, np.inf)
            for key, value in case.values(repaired).items():
                reference = np.asarray(case.reference[key], np.float64)
                size = max(norm(reference), case.limits[key] / _SHOWN) or 1.0  # of a bias before a norm rounding alone
                parts.append(np.ravel(value - reference) / size)
        return np.concatenate(parts)

    def correction(self, repairs: Repairs) -> float:
        """The function is evaluated with its numbers as they are."""
        del repairs
        return 0.0

    def starts(self, entry: Entry) -> Sequence[float]:
        """From the ratio of the losses and of the gradients, or near the entry's own start."""
        case, start = self.cases[0], entry.start
        assert start is not None
        mine = case.outcome()
        starts = [start, 0.5, 2.0] if start else [1e-4]
        if entry.name == "loss-scaled" and "loss" in case.reference:
            starts = [mine.loss / (float(case.reference["loss"]) or 1.0)]
        if entry.name == "gradient-scaled":
            sizes = [np.sqrt(sum(norm(g) ** 2 for g in gs.values())) for gs in (mine.gradients, mine.torchs)]
            starts = [float(sizes[0] / (sizes[1] or 1.0))]
        return starts

    def torchs(self, number: str) -> float | None:
        """There are no hyperparameters of torch's here."""
        del number
        return None


def _undone(outcome: Outcome, repairs: Repairs) -> Outcome:
    for entry, constant in repairs:
        outcome = entry.repair(outcome, constant)
    return outcome


def _same_digits(x: Array, y: Array) -> bool:
    """True if the values are the same but for their order, signs and powers of two: none was rounded."""
    one, other = (np.sort(np.abs(np.frexp(each)[0]), axis=None) for each in (x, y))
    return np.array_equal(one, other)
