"""The verdict on two traces: identical, the same up to rounding, or different, first here."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from torch_bridge.parity.compare import Difference, Quantity, compare_quantities, difference_at, first_difference
from torch_bridge.parity.envelope import Envelope
from torch_bridge.parity.trace import PHASES, Array, Trace, phase_of

Verdict: TypeAlias = Literal["bitwise", "rounding", "diverged"]


@dataclass(frozen=True)
class PhaseRow:
    """What one phase shows over the whole run.

    Attributes:
        phase: its name.
        values: how many values were compared.
        differing: how many of them differ in some bit.
        worst: the largest difference in ulps, or None.
        share: the largest distance as a share of the rounding envelope; above 1 is outside; None where nothing differs.
    """

    phase: str
    values: int
    differing: int
    worst: Difference | None
    share: float | None


@dataclass(frozen=True)
class Report:
    """Plain data: everything that is to be said about two traces; rendering computes nothing.

    Attributes:
        sentence: the verdict in one sentence.
        verdict: ``"bitwise"``, ``"rounding"`` or ``"diverged"``.
        drive: how the candidate was driven; empty for two recorded runs.
        n_steps: how many steps were compared.
        first: the first difference of all, or None.
        divergence: the first difference outside the envelope, or None.
        share: the largest share of the envelope that was used; of a divergence, how far outside it was at once.
        cause: why the runs differ, as far as it is known; "unknown" is said, never guessed over.
        rows: the phases in causal order.
    """

    sentence: str
    verdict: Verdict
    drive: str
    n_steps: int
    first: Difference | None
    divergence: Difference | None
    share: float | None
    cause: str
    rows: tuple[PhaseRow, ...]

    @property
    def ok(self) -> bool:
        """True unless the runs diverged."""
        return self.verdict != "diverged"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, fit for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return self.sentence


def compare(reference: Trace, candidate: Trace, *, envelope: Envelope | None = None) -> Report:
    """Judge a run against another, in one sentence and in numbers.

    Args:
        reference: the recorded PyTorch run.
        candidate: its replay in JAX, or another recorded run.
        envelope: how far rounding may move this run; None takes the one that the replay measured.

    Returns:
        A `Report`. Its verdict is `bitwise` if no bit of any quantity that both sides observed differs, `rounding` if
        every difference stays inside the envelope, `diverged` otherwise. There is no tolerance to set.

    Raises:
        ValueError: the runs have nothing in common, or differ and there is no envelope to judge the difference by.

    Example::

        print(torch_bridge.compare(trace, torch_bridge.replay(trace, tx, drive="update")))
    """
    envelope = envelope or Envelope.from_arrays(candidate.extra)
    quantities = compare_quantities(reference, candidate)
    drive = str(candidate.static.get("drive", ""))
    n_steps = min(reference.n_steps, candidate.n_steps)
    first = first_difference(quantities)
    if first is None:
        rows = _rows(quantities, {})
        return Report(_identical(drive, n_steps, rows), "bitwise", drive, n_steps, None, None, None, "", rows)
    if envelope is None:
        raise ValueError(
            "the runs differ, and no envelope says how far rounding alone would have gone: replay(..., shadows=16) "
            "measures one, or pass envelope="
        )
    limits = envelope.limits()
    shares = {q.key: _share(q, limits.get(q.key)) for q in quantities}
    rows = _rows(quantities, shares)
    divergence = _first_outside(reference, candidate, quantities, shares)
    if divergence is None:
        key, step = max(
            ((key, int(np.argmax(row))) for key, row in shares.items()), key=lambda at: shares[at[0]][at[1]]
        )
        share = float(shares[key][step])
        sentence = _rounding(drive, n_steps, rows, key, step, share)
        return Report(sentence, "rounding", drive, n_steps, first, None, share, "", rows)
    share = float(shares[f"{divergence.phase}/{divergence.name}".rstrip("/")][divergence.step])
    sentence = _diverged(drive, n_steps, divergence, share)
    return Report(sentence, "diverged", drive, n_steps, first, divergence, share, "unknown", rows)


def _share(quantity: Quantity, limits: Array | None) -> Array:
    """Each step's distance as a share of its limit; without a limit, any difference at all is outside."""
    distances = np.nan_to_num(quantity.distances, nan=0.0, posinf=np.inf)  # digests alone: nothing to measure
    limits = np.zeros_like(distances) if limits is None else limits[: len(distances)]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distances == 0, 0.0, distances / limits)


def _first_outside(
    reference: Trace, candidate: Trace, quantities: list[Quantity], shares: dict[str, Array]
) -> Difference | None:
    outside = [(int(np.argmax(shares[q.key] > 1)), q.key) for q in quantities if (shares[q.key] > 1).any()]
    if not outside:
        return None
    step, key = min(outside, key=lambda at: (at[0], PHASES.index(phase_of(at[1]))))
    return difference_at(reference, candidate, key, step)


def _rows(quantities: list[Quantity], shares: dict[str, Array]) -> tuple[PhaseRow, ...]:
    rows = []
    for phase in PHASES:
        mine = [q for q in quantities if phase_of(q.key) == phase]
        if not mine:
            continue
        worst = max((q.worst for q in mine if q.worst), key=lambda d: d.ulps or 0, default=None)
        share = max((float(shares[q.key].max()) for q in mine if q.key in shares), default=None)
        differing = sum(q.differing for q in mine)
        rows.append(PhaseRow(phase, sum(q.elements for q in mine), differing, worst, share if worst else None))
    return tuple(rows)


def _prefix(drive: str) -> str:
    return f"{drive}: " if drive else ""


def _identical(drive: str, n_steps: int, rows: tuple[PhaseRow, ...]) -> str:
    values = sum(row.values for row in rows)
    return f"{_prefix(drive)}identical in every bit, {n_steps} steps, {values:,} values."


def _rounding(drive: str, n_steps: int, rows: tuple[PhaseRow, ...], key: str, step: int, share: float) -> str:
    differing, values = sum(row.differing for row in rows), sum(row.values for row in rows)
    return (
        f"{_prefix(drive)}the same up to rounding, {n_steps} steps: {differing / values:.0%} of the values differ, at "
        f"most by {share:.2f} of the rounding envelope (step {step}, {describe(key)})."
    )


def _diverged(drive: str, n_steps: int, d: Difference, share: float) -> str:
    where = describe(f"{d.phase}/{d.name}".rstrip("/"))
    element = f"[{', '.join(map(str, d.index))}]" if d.index else ""
    values = ""
    if d.reference is not None:
        apart = "of another dtype" if d.ulps is None else f"{d.ulps:,} ulps apart"
        values = f": {d.reference:.9g} became {d.candidate:.9g}, {apart}"
    outside = f", {share:.3g} times the rounding envelope" if np.isfinite(share) else ", where rounding changes nothing"
    return (
        f"{_prefix(drive)}different, first at step {d.step} of {n_steps} (from 0), in {where}{element}{values}"
        f"{outside}; cause: unknown."
    )


def describe(key: str) -> str:
    """Return a quantity's key in words: ``"momentum of 0.weight"``."""
    phase, _, name = key.partition("/")
    words = phase.replace("_", " ")
    if not name:
        return words
    return f"{words} of {'group ' if phase == 'learning_rate' else ''}{name}"
