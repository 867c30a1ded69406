"""The element at which a port first differs, over the steps around, on both sides."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from torch_bridge.trace.trace import Array, Trace

AROUND = 8
"""How many steps before the first difference, and after it, are shown."""


@dataclass(frozen=True)
class History:
    """One element of one quantity over some steps.

    Attributes:
        phase: the quantity's phase.
        name: its name; empty for a quantity of the whole run.
        index: the element, in torch's layout.
        steps: the steps, from 0.
        torch: torch's value at each; None where it has none in full.
        jax: by drive, the port's value at each, likewise.
    """

    phase: str
    name: str
    index: tuple[int, ...]
    steps: tuple[int, ...]
    torch: tuple[float | None, ...]
    jax: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)


def history_of(
    trace: Trace, runs: Mapping[str, Trace], phase: str, name: str, index: tuple[int, ...], step: int
) -> History | None:
    """Return both sides' values of an element around a step.

    Args:
        trace: torch's run.
        runs: the port's, by drive.
        phase: the quantity's phase.
        name: its name.
        index: the element.
        step: the step around which to look.

    Returns:
        A `History`; None where torch's run does not hold the quantity, as the output of a layer.
    """
    key = f"{phase}/{name}" if name else phase
    if key not in trace.keys:
        return None
    steps = range(max(0, step - AROUND), min(trace.n_steps, step + AROUND + 1))
    sides = {drive: run for drive, run in runs.items() if key in run.keys}
    jax = {
        drive: tuple(_at(run.value(key, t), index) if t < run.n_steps else None for t in steps)
        for drive, run in sides.items()
    }
    return History(phase, name, index, tuple(steps), tuple(_at(trace.value(key, t), index) for t in steps), jax)


def _at(value: Array | None, index: tuple[int, ...]) -> float | None:
    if value is None or len(index) != np.ndim(value) or any(i >= n for i, n in zip(index, value.shape, strict=True)):
        return None
    element = value[index]
    return float(np.real(element))
