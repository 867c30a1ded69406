"""The demo: PyTorch's run, live or as it was recorded, and the diagnosis of its JAX port."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch_bridge.demo import golden, recipe
from torch_bridge.demo.faults import FAULTS
from torch_bridge.demo.port import Port
from torch_bridge.judge.check import check
from torch_bridge.judge.compare import Comparison, compare
from torch_bridge.judge.report import Report
from torch_bridge.replaying.restore import restore
from torch_bridge.trace.trace import Array, Trace, in_phase

N_PROGRESS = 3 * recipe.N_STEPS
"""The number of calls of ``progress`` in `run`: for each step of PyTorch and of two drives of the port."""


@dataclass(frozen=True)
class DemoResult:
    """The result of the demo.

    Attributes:
        report: the diagnosis.
        golden: the live PyTorch run against the golden trace, bit by bit; None when that was replayed itself.
        live: PyTorch was trained live.
        fault: the planted fault, or None.
        torch_accuracy: on the held-out digits, of PyTorch's last parameters.
        jax_accuracy: likewise, of the port's.
        static: the header of PyTorch's trace, for provenance.
    """

    report: Report
    golden: Comparison | None
    live: bool
    fault: str | None
    torch_accuracy: float
    jax_accuracy: float
    static: dict[str, Any]

    @property
    def ok(self) -> bool:
        """True if the port is PyTorch's function, computed as precisely."""
        return self.report.ok

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data, fit for JSON."""
        return {
            "ok": self.ok,
            "fault": self.fault,
            "torch": "live" if self.live else "golden trace",
            "held_out_accuracy": {"torch": self.torch_accuracy, "jax": self.jax_accuracy},
            "report": self.report.to_dict(),
            "golden": self.golden.to_dict() if self.golden else None,
            "recorded_run": self.static,
        }


def torch_is_installed() -> bool:
    """Return True if torch can be imported; it is not imported to find out."""
    return importlib.util.find_spec("torch") is not None


def run(
    fault: str | None = None, *, live: bool | None = None, progress: Callable[[], None] = lambda: None
) -> DemoResult:
    """Train PyTorch, or take its recorded run, and judge the port.

    Args:
        fault: a name in `FAULTS` to plant on the JAX side; None plants nothing.
        live: train PyTorch live, or take the golden trace; None does what torch's presence allows.
        progress: called `N_PROGRESS` times.

    Raises:
        KeyError: there is no such fault.
        ValueError: the golden trace cannot be rebuilt here, because this backend does not give torch's bits.
    """
    live = torch_is_installed() if live is None else live
    port = FAULTS[fault].port if fault else Port()
    shipped = golden.load()
    x, y = golden.digits(shipped)
    trace = _live(x, y, progress) if live else _restored(shipped, progress)
    report = check(trace, port.rule(), loss_fn=port.loss_fn, data=(x, y), order=port.order(), progress=progress)
    held_out = (x[recipe.N_TRAIN :], y[recipe.N_TRAIN :])
    return DemoResult(
        report=report,
        golden=compare(shipped, trace) if live else None,
        live=live,
        fault=fault,
        torch_accuracy=recipe.accuracy(_last_parameters(trace), *held_out),
        jax_accuracy=recipe.accuracy(_last_parameters(report.runs["free"]), *held_out),
        static=dict(trace.static),
    )


def _live(x: Array, y: Array, progress: Callable[[], None]) -> Trace:
    from torch_bridge.demo.live import LiveRun

    training = LiveRun(x, y)
    for _ in training.steps():
        progress()
    return training.recorder.trace()


def _restored(shipped: Trace, progress: Callable[[], None]) -> Trace:
    trace = restore(shipped)
    for _ in range(trace.n_steps):
        progress()
    return trace


def _last_parameters(trace: Trace) -> dict[str, Array]:
    return in_phase(trace.step(trace.n_steps - 1), "parameter")
