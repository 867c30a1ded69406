"""A port of a recorded run, and what is to be found in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch_bridge
from torch_bridge.judge.report import Report


@dataclass(frozen=True)
class Place:
    """Where a fault is first seen.

    Attributes:
        step: from 0.
        names: for each phase that may be the first to show it, the layers or the parameters: all of them, no others.
        groups: the optimizer's groups of those, for a number that each group has.
    """

    step: int
    names: Mapping[str, frozenset[str]]
    groups: frozenset[str] = frozenset()

    def holds(self, report: Report, others: bool = False) -> bool:
        """True if a report names this place.

        Args:
            report: of a check.
            others: there are other faults, which may be in the same phase.
        """
        if report.verdict == "imprecise":
            found = report.imprecision
            return found is not None and found.name in self.names.get(found.phase, ())
        first = report.difference
        if first is None or first.step != self.step or first.phase not in self.names:
            return False
        wanted, found = self.names[first.phase], set(report.place)
        if first.phase in report.numbers and found <= self.groups:
            return True
        return first.name in wanted and (found >= wanted if others else found == wanted)


@dataclass(frozen=True)
class Port:
    """One port.

    Attributes:
        of: the recipe, or the report that it is rebuilt from.
        faults: what is wrong with it, in words or by the entries; nothing for a clean one.
        causes: the entries that are to be named; nothing for a clean one, and for a fault outside the catalogue.
        places: where, one for each fault.
        trace: the recorded run.
        arguments: those of `torch_bridge.check` beside it.
        family: of the fault, for the table.
    """

    of: str
    faults: tuple[str, ...]
    causes: tuple[str, ...]
    places: tuple[Place, ...]
    trace: Callable[[], torch_bridge.Trace]
    arguments: Callable[[], dict[str, Any]]
    family: str = ""

    @property
    def kind(self) -> str:
        """The row of the table."""
        if not self.faults:
            return "clean ports"
        if self.family == "scenario":
            return "public reports"
        if not self.causes:
            return "outside the catalogue"
        return {1: "one fault", 2: "two faults"}.get(len(self.faults), "three faults")

    @property
    def title(self) -> str:
        """The port in words."""
        return f"{self.of}: {' + '.join(self.faults) or 'clean'}"
