"""What was found in one port, beside what was to be found."""

import time
from dataclasses import dataclass

import torch_bridge
from benchmarks.faults.peers import peers
from benchmarks.faults.port import Port
from torch_bridge.judge.report import Report


@dataclass(frozen=True)
class Row:
    """One port's result.

    Attributes:
        port: it.
        detected: the port is called different, or imprecise.
        located: step, phase, and the layers or parameters are those of the fault; of several, of the first.
        named: the causes are those that were planted; of a fault outside the catalogue none.
        agreed: after the repairs the sides agree.
        substitutions: how many of torch's values took the place of the port's.
        seconds: of the check.
        peers: what others saw.
        reproduced: the script shows the difference; None if it was not run.
        found: what was said, in short.
    """

    port: Port
    detected: bool
    located: bool
    named: bool
    agreed: bool
    substitutions: int
    seconds: float
    peers: tuple[bool, ...]
    reproduced: bool | None
    found: str

    @property
    def missed(self) -> bool:
        """True if anything is not as it is to be."""
        if not self.port.faults:
            return self.detected
        return not (self.detected and self.located and self.named and self.agreed) or self.reproduced is False


def judged(
    port: Port, report: Report, trace: torch_bridge.Trace, seconds: float = 0.0, reproduced: bool | None = None
) -> Row:
    """Compare a report with what was planted."""
    causes = [cause.name for cause in report.causes]
    first = report.difference or report.imprecision
    where = "" if first is None else f"{getattr(first, 'step', '')} {first.phase} {first.name}"
    found = f"{' + '.join(causes) or 'unknown'} at {where} in {','.join(report.place)}"
    return Row(
        port,
        detected=not report.ok,
        located=any(place.holds(report, len(port.places) > 1) for place in port.places),
        named=sorted(causes) == sorted(port.causes),
        agreed=all(cause.after <= 1 for cause in report.causes),
        substitutions=report.substitutions,
        seconds=seconds,
        peers=peers(trace, report.runs.get("free")),
        reproduced=reproduced,
        found=found if port.faults or not report.ok else "nothing",
    )


def measured(port: Port, reproduce: bool = False) -> Row:
    """Check a port."""
    trace, arguments = port.trace(), port.arguments()
    start = time.process_time()
    report = torch_bridge.check(trace, **arguments)
    seconds = time.process_time() - start
    shown = None
    if reproduce and not report.ok:
        from benchmarks.faults.reproduced import shows

        shown = shows(report, arguments)
    return judged(port, report, trace, seconds, shown)
