"""The search for the repairs after which two sides agree: one alone, two together, or further from one that helps."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from torch_bridge.judge.causes.cause import Trial
from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.causes.newton import fitted, fitted_together
from torch_bridge.judge.findings import norm
from torch_bridge.trace.trace import Array

Repair: TypeAlias = tuple[Entry, float]
Repairs: TypeAlias = tuple[Repair, ...]
"""Entries with their constants, in the order in which they are applied."""

_WIDTH = 8
"""So many of the repairs that bring the sides nearest are gone on from."""

_TURNS = 3
_NEAR = 1e-2  # of a residual, from which on other numbers' rounding matters
_CLOSE = 0.3  # of the distance without repairs: from here on constants are fitted together
_ALIKE = 1e-6


@dataclass(frozen=True)
class Agreement:
    """How far two sides agree with some repairs.

    Attributes:
        leading: how many quantities agree before the first that does not.
        same: all of them agree.
        distance: of the first that does not, relative; 0 where all do.
        share: the largest distance over its limit.
        values: how many quantities were compared.
    """

    leading: int
    same: bool
    distance: float
    share: float
    values: int


class Question(Protocol):
    """Two sides that differ, and what may mend it."""

    def entries(self) -> Sequence[Entry]:
        """The entries that apply here."""
        ...

    def agreement(self, repairs: Repairs) -> Agreement:
        """Compare the sides with some repairs."""
        ...

    def residual(self, repairs: Repairs) -> Array:
        """What is left between the sides in all quantities, each relative to its size."""
        ...

    def correction(self, repairs: Repairs) -> float:
        """By what share the constants of the repairs are off, since other numbers are held in float32."""
        ...

    def starts(self, entry: Entry) -> Sequence[float]:
        """Where the fit of an entry's constant begins."""
        ...

    def torchs(self, number: str) -> float | None:
        """Torch's value of a hyperparameter."""
        ...


@dataclass
class Search:
    """The search, with what it tried.

    Attributes:
        trials: every repair that left a difference, the nearest first.
        evaluations: how many times the sides were compared.
    """

    question: Question
    trials: list[Trial] = field(default_factory=list)
    evaluations: int = 0
    _constants: dict[str, float] = field(default_factory=dict)

    def run(self, most: int = 3) -> Repairs:
        """Return the repairs after which the sides agree: none if there are no such, at most ``most``."""
        found = self._run(most)
        self.trials.sort(key=lambda trial: trial.distance)
        return found

    def _run(self, most: int) -> Repairs:
        start = self._agreement(())
        if start.same:
            return ()
        found, singles = self._one_more(self._singles())
        if found or most == 1:
            return found
        entries = [repairs[0][0] for repairs in singles]
        self._constants = {entry.name: constant for ((entry, constant),) in singles}
        found, pairs = self._one_more(self._pairs(singles[:_WIDTH], entries))
        if found or most == 2:
            return found
        found, _ = self._one_more(
            self._refitted((*two, (entry, 0.0)))
            for two in pairs[:3]
            for entry in entries
            if all(_go_together(one, entry) for one, _ in two)
        )
        return found

    def _singles(self) -> Iterator[Repairs]:
        """One entry each: those without a constant first, which explain more with less."""
        for entry in sorted(self.question.entries(), key=lambda entry: entry.fitted):
            yield self._refitted(((entry, 0.0),))

    def _pairs(self, singles: Sequence[Repairs], entries: Sequence[Entry]) -> Iterator[Repairs]:
        """Two at once, of which one alone brings the sides near; of one family in either order."""
        seen: set[tuple[str, str]] = set()
        for one, other in ((repairs[0][0], entry) for repairs in singles for entry in entries):
            for first, second in ((one, other), (other, one)) if one.family == other.family else ((one, other),):
                if _go_together(first, second) and (first.name, second.name) not in seen:
                    seen.add((first.name, second.name))
                    yield self._refitted(((first, 0.0), (second, 0.0)))

    def _one_more(self, candidates: Iterable[Repairs]) -> tuple[Repairs, list[Repairs]]:
        """The first candidate that makes the sides agree; or all of them, the nearest first."""
        ranked: list[tuple[float, Repairs]] = []
        for repairs in candidates:
            after = self._agreement(repairs)
            if after.same:
                return self._simpler(self._fewer(repairs)), []
            self.trials.append(Trial(" + ".join(entry.name for entry, _ in repairs), after.distance))
            ranked.append((norm(self.question.residual(repairs)), repairs))
        ranked.sort(key=lambda each: each[0])
        return (), [repairs for _, repairs in ranked]

    def _refitted(self, repairs: Repairs) -> Repairs:
        """Repairs with their constants fitted, several in turn."""
        fitted_ones = [i for i, (entry, _) in enumerate(repairs) if entry.fitted]
        made = list(repairs)
        for turn in range(_TURNS if len(fitted_ones) > 1 else 1):
            for i in fitted_ones:
                entry, constant = made[i]

                def residual(c: float, i: int = i, entry: Entry = entry) -> Array:
                    return self.question.residual((*made[:i], (entry, c), *made[i + 1 :]))

                best = fitted(residual, self._starts(entry, constant if turn else None))
                made[i] = entry, constant if best is None else best
        if len(fitted_ones) > 1:
            made = self._together(made, fitted_ones)
        if fitted_ones and norm(self.question.residual(tuple(made))) < _NEAR:
            share = self.question.correction(tuple(made))
            made = [(entry, c * (1 + share) if entry.fitted else c) for entry, c in made]
        return tuple(made)

    def _together(self, made: list[Repair], places: Sequence[int]) -> list[Repair]:
        """Several constants fitted at once, if one after the other has brought the sides near."""

        def residual(constants: Sequence[float]) -> Array:
            changed = dict(zip(places, constants, strict=True))
            return self.question.residual(tuple((e, changed.get(i, c)) for i, (e, c) in enumerate(made)))

        start = [made[i][1] for i in places]
        if not norm(residual(start)) < _CLOSE * norm(self.question.residual(())):
            return made
        changed = dict(zip(places, fitted_together(residual, start), strict=True))
        return [(entry, changed.get(i, c)) for i, (entry, c) in enumerate(made)]

    def _fewer(self, repairs: Repairs) -> Repairs:
        """Without those that are not needed."""
        for i in range(len(repairs)):
            rest = (*repairs[:i], *repairs[i + 1 :])
            if rest and self._agreement(rest).same:
                return self._fewer(rest)
        return repairs

    def _starts(self, entry: Entry, constant: float | None) -> Sequence[float]:
        if constant is None:
            constant = self._constants.get(entry.name)
        return self.question.starts(entry) if constant is None else [constant]

    def _simpler(self, repairs: Repairs) -> Repairs:
        """A fitted constant that is no more than an entry without one, such as a decay of 0, which is missing."""
        for i, (entry, _) in enumerate(repairs):
            for plain in self.question.entries() if entry.fitted and len(repairs) > 1 else ():
                if not plain.fitted and (plain.family == entry.family or self._alike(repairs[i], (plain, 0.0))):
                    simpler = (*repairs[:i], (plain, 0.0), *repairs[i + 1 :])
                    if self._agreement(simpler).same:
                        return self._simpler(simpler)
        return repairs

    def _alike(self, one: Repair, other: Repair) -> bool:
        """True if two repairs do the same, each by itself."""
        alone, others = self.question.residual((one,)), self.question.residual((other,))
        return alone.shape == others.shape and norm(alone - others) <= _ALIKE * norm(alone)

    def _agreement(self, repairs: Repairs) -> Agreement:
        self.evaluations += 1
        return self.question.agreement(repairs)


def _go_together(one: Entry, other: Entry) -> bool:
    """True if two faults can be there at once: a second clipping takes the place of a first."""
    return one is not other and not one.family == other.family == "clip"
