"""One step of a recorded run that is evaluated in float64."""

from dataclasses import dataclass, field
from typing import Any

from torch_bridge.judge.findings import limits
from torch_bridge.judge.widening import Reading, Widened
from torch_bridge.trace.phases import phase_of
from torch_bridge.trace.trace import Step, Trace


@dataclass
class TwinCase:
    """A step, and what was found at it so far.

    Attributes:
        step: its number.
        params: the port's parameters, with its model state if it has one, or the state of a step function.
        batch: the port's batch.
        run: what torch's run had: loss, gradients, buffers and, beside a twin, the outputs of layers.
        twin: the step in float64, or None.
        before: torch's state before it.
        limits: by quantity, the distance (2-norm) that rounding explains.
        wide: what the port was evaluated to, by the reading of its numbers.
    """

    step: int
    params: Any
    batch: Any
    run: Step
    twin: Step | None
    before: Step
    limits: dict[str, float] = field(default_factory=dict)
    wide: dict[Reading, Widened] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.twin is not None:
            self.limits = limits(self.twin, self.run)

    def drop(self, phase: str) -> None:
        """Leave a phase out of what is compared."""
        self.run = {key: value for key, value in self.run.items() if phase_of(key) != phase}
        self.twin = self.twin and {key: value for key, value in self.twin.items() if phase_of(key) != phase}

    @property
    def reference(self) -> Step:
        """What the port should be."""
        return self.run if self.twin is None else self.twin


def case_of(trace: Trace, step: int, params: Any, batch: Any) -> TwinCase:
    """Return a step of a run as a case.

    Args:
        trace: the recorded run.
        step: its number.
        params: what the port begins with.
        batch: the port's batch.
    """
    phases = ("loss", "gradient") + (("buffer",) if step not in trace.static.get("mixed_buffers", ()) else ())
    run = {key: value for key, value in trace.step(step).items() if phase_of(key) in phases}
    twin = trace.twins.get(step)
    run |= {key.removeprefix("narrow/"): value for key, value in (twin or {}).items() if key.startswith("narrow/")}
    return TwinCase(step, params, batch, run, twin, trace.before(step))
