"""Findings about bits in one sentence each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch_bridge.judge.differences import Difference

if TYPE_CHECKING:
    from torch_bridge.judge.compare import Comparison


def describe(phase: str, name: str, numbers: Sequence[str] = ()) -> str:
    """Return a quantity in words: ``"momentum buffer of 0.weight"``; ``numbers`` are phases with one for each group."""
    words = {"forward": "output", "backward": "gradient of the output"}.get(phase, phase.replace("_", " "))
    if not name:
        return words
    if phase == "buffer":
        return f"buffer {name}"
    return f"{words} of {'group ' if phase in numbers and name.isdigit() else ''}{name}"


def comparison_sentence(comparison: "Comparison") -> str:
    """Return in one sentence how two runs differ in bits."""
    prefix = f"{comparison.drive}: " if comparison.drive else ""
    values = sum(row.values for row in comparison.rows)
    if comparison.first is None:
        return f"{prefix}identical in every bit, {comparison.n_steps} steps, {values:,} values."
    differing = sum(row.differing for row in comparison.rows)
    share = f"{differing / values:.0%} of the values differ" if values else "digests differ"
    first = comparison.first
    where = _element(first, comparison.numbers)
    return f"{prefix}{share}, {comparison.n_steps} steps, first at step {first.step} in {where}."


def _element(d: Difference, numbers: Sequence[str]) -> str:
    where = describe(d.phase, d.name, numbers)
    if d.reference is None or d.candidate is None:
        return where
    element = f"[{', '.join(map(str, d.index))}]" if d.index else ""
    apart = "of another dtype" if d.ulps is None else f"{d.ulps:,} ulps apart"
    return f"{where}{element}: torch {d.reference:.9g}, JAX {d.candidate:.9g}, {apart}"
