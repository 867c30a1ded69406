"""An entry of the catalogue."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One way in which ports go wrong.

    Attributes:
        name: short, of lower-case words joined by hyphens.
        family: the part of a training step that it belongs to.
        does: what the fault is, in a sentence.
        fix: the fix, in code or in words; ``{constant}`` and ``{torch}`` are the port's number and torch's,
            ``{words}`` what is said of the place in the port.
        repair: a small pure function; what it takes and returns depends on the family.
        sentence: the fault in a given port; empty takes `does`.
        start: where the fit of its one constant begins; None for an entry without one.
        number: torch's name of the hyperparameter that the constant stands in for, if any.
    """

    name: str
    family: str
    does: str
    fix: str
    repair: Callable[..., Any]
    sentence: str = ""
    start: float | None = None
    number: str = ""

    @property
    def fitted(self) -> bool:
        """True if the entry has a constant to fit."""
        return self.start is not None

    def worded(self, constant: float | None, torch: float | None, words: str = "") -> tuple[str, str]:
        """Return the sentence and the fix with their numbers, and what is said of the place."""
        parts = {"constant": _number(constant), "torch": _number(torch), "words": words}
        return (self.sentence or self.does).format(**parts), self.fix.format(**parts)


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.7g}"
