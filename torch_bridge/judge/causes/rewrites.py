"""Causes inside the loss function: a value of its program is replaced, and the rest of the program goes on from it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from torch_bridge.judge.causes.activation import UNNAMED
from torch_bridge.judge.causes.catalogue import REWRITES
from torch_bridge.judge.causes.cause import Cause
from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.causes.factor import OF_THE_FUNCTION
from torch_bridge.judge.causes.loss_cases import LossCase
from torch_bridge.judge.causes.search import Agreement
from torch_bridge.judge.rewriting.edit import Edit
from torch_bridge.judge.rewriting.evaluation import Evaluated
from torch_bridge.judge.rewriting.graph import Graph
from torch_bridge.judge.rewriting.patterns import Patterns

_IN_ORDER = tuple(entry for family in REWRITES for entry in family.ENTRIES)
ENTRIES: tuple[Entry, ...] = (*_IN_ORDER[:-1], OF_THE_FUNCTION, _IN_ORDER[-1])
"""All of them, in the order in which they are tried at one place; a missing factor last, which may be anywhere."""


@dataclass(frozen=True, eq=False)
class Rewrite:
    """An entry at a place of the program, or at several that are alike.

    Attributes:
        entry: of the catalogue.
        positions: which of the entry's replacements.
        edits: the replacements.
    """

    entry: Entry
    positions: tuple[int, ...]
    edits: tuple[Edit, ...]

    @property
    def number(self) -> int:
        """That of the operation behind which the program becomes another one."""
        return min(map(position_of, self.edits))

    def fitted(self, constant: float) -> "Rewrite":
        """Return it with a constant."""
        return replace(self, edits=tuple(edit.with_constant(constant) for edit in self.edits))


@dataclass(eq=False)
class Program:
    """A port's loss at one step, as a graph with its values in float64.

    Attributes:
        case: the step.
        graph: of the loss.
        evaluated: its values.
        limit: the distance of the loss that rounding explains.
    """

    case: LossCase
    graph: Graph
    evaluated: Evaluated

    @cached_property
    def patterns(self) -> Patterns:
        """What is found in it."""
        return Patterns(self.evaluated)

    @property
    def torchs(self) -> float:
        """Torch's loss."""
        return float(self.case.reference["loss"])

    def loss(self, changed: Any) -> float:
        """The port's loss with some values changed."""
        return float(np.asarray(self.evaluated.results(changed)[0]))

    def agrees(self, loss: float) -> bool:
        """True if a loss is torch's."""
        return abs(loss - self.torchs) <= self.case.limits["loss"]

    def rewrites(self, entry: Entry) -> Iterator[Rewrite]:
        """The replacements of an entry."""
        for position, edits in enumerate(entry.repair(self.patterns)):
            yield Rewrite(entry, (position,), edits)


def position_of(edit: Edit) -> int:
    """That of the operation behind which an edit acts."""
    reads = [x.op.number for x in edit.reads if x.op is not None]
    assert edit.at.op is not None
    return max(reads) if reads else edit.at.op.number


def alike(single: Sequence[Rewrite]) -> Iterator[Rewrite]:
    """Replacements at all places of one line, or of one function: a fault in a loop, or in every layer."""
    groups: dict[tuple[str, str], dict[Any, Rewrite]] = {}
    for each in single:
        edit = each.edits[0]
        for key in (("line", edit.line), ("words", edit.words)):
            if key[1] and key[1] != UNNAMED:
                groups.setdefault(key, {}).setdefault(edit.at, each)
    seen = set()
    for group in groups.values():
        positions = tuple(position for each in group.values() for position in each.positions)
        if len(positions) > 1 and positions not in seen:
            seen.add(positions)
            edits = tuple(edit for each in group.values() for edit in each.edits)
            yield Rewrite(single[0].entry, positions, edits)


def causes_of(
    rewrites: Sequence[Rewrite], agreement: Agreement, steps: Sequence[int], before: float
) -> tuple[Cause, ...]:
    """Return replacements as causes, with their evidence.

    Args:
        rewrites: the replacements.
        agreement: of the sides with them.
        steps: at which they were compared.
        before: the distance without them.
    """
    causes = []
    for each in rewrites:
        edit, entry = each.edits[0], each.entry
        sentence, fix = entry.worded(edit.own, edit.constant, edit.words)
        constants = {} if edit.constant is None else {"torch": edit.constant}
        constants |= {} if edit.own is None or edit.constant is None else {"constant": edit.own}
        causes.append(
            Cause(
                entry.name, entry.family, f"{sentence.removesuffix('.')} ({edit.line})", f"{edit.line}: {fix}",
                constants, tuple(steps), before, agreement.share, agreement.values,
            )
        )  # fmt: skip
    return tuple(causes)
