"""Where a difference is: the quantities that still differ where everything before them is torch's."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from torch_bridge.judge.causes.place import Place, Substituted, layers_at_fault
from torch_bridge.judge.findings import FunctionFinding
from torch_bridge.judge.rule_findings import RuleFinding
from torch_bridge.judge.widening import Reading
from torch_bridge.trace.trace import Array, in_phase

if TYPE_CHECKING:
    from torch_bridge.judge.port import Port
    from torch_bridge.judge.report import Report
    from torch_bridge.judge.twins import TwinFindings


def place_of(report: "Report", port: "Port", twins: "TwinFindings | None") -> tuple[tuple[str, ...], int]:
    """Return the names that the fault is confined to, and how many of torch's values were put in the port's place.

    Each evaluated step began with torch's batch, parameters and state, and the rule was given torch's gradients: what
    differs nevertheless is its own fault. Among layers that differ substitution goes on.
    """
    counted = sum((port.order is not None, bool(report.functions), bool(report.rules)))
    d = report.difference
    if d is None:
        return (), counted
    if d.phase == "forward" and twins is not None and port.loss_fn is not None:
        found = _layers(d.step, port, twins.reading)
        return found.names, counted + found.substitutions
    findings: list[FunctionFinding | RuleFinding] = [*report.functions, *report.rules]
    off = [f for f in findings if f.step == d.step and not f.same]
    here = [f for f in off if f.phase == d.phase]
    if d.constants and len(here) == 1 and here[0] in report.rules:
        here += _alike(here[0], [f for f in report.rules if f in off])
    return tuple(dict.fromkeys(f.name for f in here)) or (d.name,), counted


def _alike(first: RuleFinding, off: Sequence[RuleFinding]) -> list[RuleFinding]:
    """Those that stand beside a first finding whose phase is that of the number that explains it.

    Only one parameter is asked for the number; the others that differ do so in the quantity that shows it first.
    """
    others = [f for f in off if f.name != first.name]
    return [f for f in others if f.phase == others[0].phase]


def _layers(step: int, port: "Port", reading: Reading) -> Place:
    programs = port.programs()
    twin, args = port.trace.twins[step], (port.begins_with(programs, step), port.batch_at(step))
    program = Substituted(programs.forward, args, reading)
    torchs = {name: np.asarray(value, np.float64) for name, value in in_phase(twin, "forward").items()}
    _, names = program({}, {})
    layouts = {name: _in_ports(torchs[name], np.shape(names[name])) for name in names if name in torchs}
    known = {name: value for name, value in layouts.items() if value is not None}

    def run(given: Mapping[str, Array]) -> tuple[Mapping[str, Array], bool]:
        loss, computed = program(given, known)
        apart = abs(float(loss) - float(twin["loss"])) if "loss" in twin else 0.0
        return {name: computed[name] for name in known}, apart <= 1e-9 * abs(float(twin.get("loss", 1.0)))

    return layers_at_fault(run, known, [name for name in torchs if name in known])


def _in_ports(array: Array, shape: tuple[int, ...]) -> Array | None:
    if array.shape == shape:
        return array
    if array.ndim > 2 and (moved := np.moveaxis(array, 1, -1)).shape == shape:
        return moved
    return None
