"""Two traces, compared bit by bit: what differs, where first, and how far."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from torch_bridge.judge.bits_sentence import comparison_sentence
from torch_bridge.judge.differences import Difference, Quantity, compare_quantities, first_difference
from torch_bridge.judge.profile import Profile, profile_of
from torch_bridge.replaying.envelope import Envelope
from torch_bridge.trace.phases import phase_of
from torch_bridge.trace.trace import Array, Trace


@dataclass(frozen=True)
class PhaseRow:
    """The differences in one phase over the whole run.

    Attributes:
        phase: its name.
        values: how many values were compared.
        differing: how many of them differ in some bit.
        worst: the largest difference in ulps, or None.
        spread: the largest distance as a share of the spread of the shadows; None where nothing differs, or without
            shadows.
    """

    phase: str
    values: int
    differing: int
    worst: Difference | None
    spread: float | None


@dataclass(frozen=True)
class Comparison:
    """The differences of two runs, as plain data; `torch_bridge.check` decides whether they are faults.

    Attributes:
        drive: how the candidate was driven; empty for two recorded runs.
        n_steps: how many steps were compared.
        first: the first difference in causal order; None if no bit differs.
        rows: the phases in causal order.
        numbers: the phases that hold one number for each parameter group.
        profile: the distances over the run and over the quantities, for a picture.
    """

    drive: str
    n_steps: int
    first: Difference | None
    rows: tuple[PhaseRow, ...]
    numbers: tuple[str, ...] = ()
    profile: Profile = field(default_factory=Profile)

    @property
    def identical(self) -> bool:
        """True if no bit of any quantity that both sides observed differs."""
        return self.first is None

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain data, fit for JSON."""
        return {**asdict(self), "identical": self.identical}

    def __str__(self) -> str:
        return comparison_sentence(self)


def compare(
    reference: Trace,
    candidate: Trace,
    *,
    envelope: Envelope | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Comparison:
    """Compare a run with another, bit by bit, step by step: a file of any length is read and not held.

    Args:
        reference: the recorded PyTorch run.
        candidate: its replay in JAX, or another recorded run.
        envelope: how far rounding alone moved shadows of this run, for information; None takes what the replay
            measured.
        progress: called after each step.

    Returns:
        A `Comparison`. It does not judge: two runs of the same function differ in bits as soon as a sum is taken in
        another order, and `torch_bridge.check` distinguishes rounding from a fault.

    Raises:
        ValueError: the runs have nothing in common.

    Example::

        print(torch_bridge.compare(trace, torch_bridge.replay(trace, tx, drive="update")))
    """
    envelope = envelope or Envelope.from_arrays(candidate.extra)
    quantities = compare_quantities(reference, candidate, progress)
    limits = envelope.limits() if envelope else {}
    shares = {q.key: _share(q, limits[q.key]) for q in quantities if q.key in limits}
    drive = str(candidate.static.get("drive", ""))
    n_steps = min(reference.n_steps, candidate.n_steps)
    return Comparison(
        drive,
        n_steps,
        first_difference(quantities),
        _rows(quantities, shares),
        reference.numbers,
        profile_of(quantities),
    )


def _share(quantity: Quantity, limits: Array) -> Array:
    """Each step's distance as a share of what the shadows reach."""
    distances = np.nan_to_num(quantity.distances, nan=0.0, posinf=np.inf)  # digests alone: nothing to measure
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distances == 0, 0.0, distances / limits[: len(distances)])


def _rows(quantities: list[Quantity], shares: dict[str, Array]) -> tuple[PhaseRow, ...]:
    rows = []
    for phase in dict.fromkeys(phase_of(q.key) for q in quantities):
        mine = [q for q in quantities if phase_of(q.key) == phase]
        worst = max((q.worst for q in mine if q.worst), key=lambda d: d.ulps or 0, default=None)
        spread = max((float(shares[q.key].max()) for q in mine if q.key in shares), default=None)
        differing = sum(q.differing for q in mine)
        rows.append(PhaseRow(phase, sum(q.elements for q in mine), differing, worst, spread if worst else None))
    return tuple(rows)
