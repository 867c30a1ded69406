"""Both sides in lockstep, all three drives, and what came of it."""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch_bridge.demo import golden, recipe
from torch_bridge.demo.faults import FAULTS
from torch_bridge.parity.replay import DRIVES, Drive, Replay
from torch_bridge.parity.report import Report, compare
from torch_bridge.parity.restore import restore
from torch_bridge.parity.trace import Array, Step, Trace, in_phase


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        reports: one for each drive.
        golden_report: the live PyTorch run against the golden trace; None when the golden trace itself was replayed.
        live: PyTorch was trained live.
        fault: the planted fault, or None.
        torch_seconds: time PyTorch spent in its steps (when recorded, if the golden trace was replayed).
        jax_seconds: time JAX spent in the steps of the free drive, compilation not counted.
        torch_accuracy: on the held-out digits, of PyTorch's last parameters.
        jax_accuracy: likewise, of the free drive's.
        static: the PyTorch run's static part, for provenance.
    """

    reports: dict[Drive, Report]
    golden_report: Report | None
    live: bool
    fault: str | None
    torch_seconds: float
    jax_seconds: float
    torch_accuracy: float
    jax_accuracy: float
    static: dict[str, Any]

    @property
    def ok(self) -> bool:
        """True if no comparison diverged."""
        return all(report.ok for report in (*self.reports.values(), *filter(None, [self.golden_report])))

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data, fit for JSON."""
        return {
            "ok": self.ok,
            "fault": self.fault,
            "torch": "live" if self.live else "golden trace",
            "seconds": {"torch": self.torch_seconds, "jax": self.jax_seconds},
            "held_out_accuracy": {"torch": self.torch_accuracy, "jax": self.jax_accuracy},
            "reports": {drive: report.to_dict() for drive, report in self.reports.items()},
            "golden": self.golden_report.to_dict() if self.golden_report else None,
            "recorded_run": self.static,
        }


def torch_is_installed() -> bool:
    """Return True if torch can be imported; it is not imported to find out."""
    return importlib.util.find_spec("torch") is not None


def run(
    fault: str | None = None, *, live: bool | None = None, progress: Callable[[], None] = lambda: None
) -> DemoResult:
    """Train both sides and compare them.

    Args:
        fault: a name in `FAULTS` to plant on the JAX side; None plants nothing.
        live: train PyTorch live, or replay the golden trace; None does what torch's presence allows.
        progress: called after each of the `recipe.N_STEPS` steps.

    Raises:
        KeyError: there is no such fault.
        ValueError: the golden trace cannot be rebuilt here, because this backend does not give torch's bits.
    """
    live = torch_is_installed() if live is None else live
    tx = FAULTS[fault]() if fault else recipe.rule()
    shipped = golden.load()
    x, y = golden.digits(shipped)
    side = _Live(x, y) if live else _Golden(shipped)
    replays: dict[Drive, Replay] = {}
    for before, recorded in side.steps():
        if not replays:
            replays = {drive: Replay(before, tx, drive=drive, loss_fn=recipe.loss_fn) for drive in DRIVES}
        indices = recorded["data"][recorded["data"] >= 0]
        for replay in replays.values():
            replay.step(before, recorded, (x[indices], y[indices]))
        progress()

    reference = side.trace()
    envelopes = golden.envelopes(shipped)
    traces = {drive: replay.trace() for drive, replay in replays.items()}
    reports = {drive: compare(reference, trace, envelope=envelopes[drive]) for drive, trace in traces.items()}
    held_out = (x[recipe.N_TRAIN :], y[recipe.N_TRAIN :])
    return DemoResult(
        reports=reports,
        golden_report=compare(shipped, reference, envelope=envelopes["free"]) if live else None,
        live=live,
        fault=fault,
        torch_seconds=side.seconds(),
        jax_seconds=replays["free"].seconds,
        torch_accuracy=recipe.accuracy(_last_parameters(reference), *held_out),
        jax_accuracy=recipe.accuracy(_last_parameters(traces["free"]), *held_out),
        static=dict(reference.static),
    )


def _last_parameters(trace: Trace) -> dict[str, Array]:
    return in_phase(trace.step(trace.n_steps - 1), "parameter")


class _Live:
    """PyTorch as it trains."""

    def __init__(self, x: Array, y: Array) -> None:
        from torch_bridge.demo.live import LiveRun

        self._run = LiveRun(x, y)

    def steps(self) -> Iterator[tuple[Step, Step]]:
        for _ in self._run.steps():
            yield self._run.recorder.before, self._run.recorder.latest

    def trace(self) -> Trace:
        return self._run.recorder.trace()

    def seconds(self) -> float:
        return self._run.seconds


class _Golden:
    """PyTorch as it was recorded."""

    def __init__(self, shipped: Trace) -> None:
        self._trace = restore(shipped)

    def steps(self) -> Iterator[tuple[Step, Step]]:
        for t in range(self._trace.n_steps):
            yield self._trace.before(t), self._trace.step(t)

    def trace(self) -> Trace:
        return self._trace

    def seconds(self) -> float:
        return float(self._trace.static["provenance"]["seconds"])
