"""A proved cause, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch_bridge.judge.causes.edit import FileEdit


@dataclass(frozen=True)
class Cause:
    """A fault of a port, proved by the repair after which the two sides agree.

    Attributes:
        name: of its entry in the catalogue; ``torch-bridge why NAME`` explains it.
        family: the part of a training step that it belongs to.
        sentence: the fault in this port, with its fitted constant.
        fix: the fix in code, with torch's numbers in it.
        constants: what was fitted, by name: the port's number, and torch's under ``"torch"`` where there is one.
        steps: the steps at which the sides were compared.
        before: the largest distance of any quantity at those steps, relative to torch's, without the repair.
        after: the largest distance as a share of its limit with the repair; at most 1.
        values: how many quantities agree with it.
        edits: the fix as changes of the port's file, proved by a check of the changed file; none where the file is not
            known or nothing in it could be changed.
    """

    name: str
    family: str
    sentence: str
    fix: str
    constants: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[int, ...] = ()
    before: float = 0.0
    after: float = 0.0
    values: int = 0
    edits: tuple[FileEdit, ...] = ()


@dataclass(frozen=True)
class Trial:
    """A repair that was tried and did not make the sides agree.

    Attributes:
        name: of the entry, or of several joined by ``" + "``.
        distance: the distance that was left in the first quantity that still differed, relative to its size.
    """

    name: str
    distance: float
