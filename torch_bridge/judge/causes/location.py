"""Where a difference is: the quantities that still differ where everything before them is torch's."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np

from torch_bridge.judge.causes.place import Place, Substituted, layers_at_fault
from torch_bridge.judge.findings import FunctionFinding, norm
from torch_bridge.judge.rewriting.edit import Edit
from torch_bridge.judge.rewriting.evaluation import Evaluated, Known
from torch_bridge.judge.rewriting.graph import Value, graph_of
from torch_bridge.judge.rewriting.layers_by_value import LayersByValue
from torch_bridge.judge.rule_findings import RuleFinding
from torch_bridge.judge.widening import Reading, traced
from torch_bridge.trace.trace import Array, in_phase

if TYPE_CHECKING:
    from torch_bridge.judge.port import Port
    from torch_bridge.judge.report import Report
    from torch_bridge.judge.twins import TwinFindings

_SAME = 1e-9  # relative distance of a loss in float64 that is no difference
_VALUES = 6  # that are tried as the counterpart of one layer


def place_of(report: "Report", port: "Port", twins: "TwinFindings | None") -> tuple[tuple[str, ...], int]:
    """Return the names that the fault is confined to, and how many of torch's values were put in the port's place.

    Each evaluated step began with torch's batch, parameters and state, and the rule was given torch's gradients: what
    differs nevertheless is its own fault. Among layers that differ substitution goes on.
    """
    counted = sum((port.order is not None, bool(report.functions), bool(report.rules)))
    d = report.difference
    if d is None:
        return (), counted
    if d.phase in ("input", "forward", "loss") and twins is not None and port.loss_fn is not None:
        found = _layers(d.step, port, twins.reading) if d.phase == "forward" else Place((), 0, False)
        if not found.names and d.step in port.trace.twins:
            found = _layers_by_value(d.step, port, twins.reading)
        if found.names:
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
    """Where the port names its layers."""
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
        return {name: computed[name] for name in known}, apart <= _SAME * abs(float(twin.get("loss", 1.0)))

    return layers_at_fault(run, known, [name for name in torchs if name in known])


def _layers_by_value(step: int, port: "Port", reading: Reading) -> Place:
    """Where it names none: torch's output of the first layer that is not among its values takes a value's place.

    It is the right place if the layers behind it come out, or the loss.
    """
    programs = port.programs()
    twin, args = port.trace.twins[step], (port.begins_with(programs, step), port.batch_at(step))
    torchs = {name: np.asarray(value, np.float64) for name, value in in_phase(twin, "forward").items()}
    if not torchs or "loss" not in twin:
        return Place((), 0, False)
    closed, _ = traced(programs.forward, args, reading)
    evaluated = Evaluated(graph_of(closed), jax.tree.leaves(args), reading)
    layers, torchs_loss = LayersByValue(torchs, list(torchs)), float(twin["loss"])

    def agrees(changed: Known) -> bool:
        return abs(float(evaluated.results(changed)[0]) - torchs_loss) <= _SAME * abs(torchs_loss)

    edits: list[Edit] = []
    names: list[str] = []
    changed: Known = {}
    substitutions, reached, last = 0, 0, -1
    while not agrees(changed):
        known = {x: changed.get(x, evaluated.base[x]) for x in evaluated.graph.values()}
        found = layers.found(((x, np.asarray(array)) for x, array in known.items()), reached)
        if found:
            reached, op = max(found) + 1, found[max(found)].op
            last = last if op is None else max(last, op.number)
        if reached >= len(layers.order):
            break
        name = layers.order[reached]
        reached += 1
        for edit in _substitutes(evaluated, torchs[name], last):
            substitutions += 1
            after = evaluated.changed([*edits, edit])
            if agrees(after) or layers.found(((x, np.asarray(array)) for x, array in after.items()), reached):
                edits, changed = [*edits, edit], after
                names.append(name)
                break
    return Place(tuple(names), substitutions, agrees(changed))


def _substitutes(evaluated: Evaluated, torchs: Array, after: int) -> Iterator[Edit]:
    """What torch has in the place of the port's that may be its counterpart, the nearest ones first."""
    fitting: list[tuple[float, Value, Array]] = []
    for value in evaluated.graph.values():
        if value.op is None or value.op.number <= after or not value.floating:
            continue
        array = _in_ports(torchs, value.shape)
        if array is not None:
            fitting.append((norm(np.asarray(evaluated.base[value]) - array), value, array))
    for _, value, array in sorted(fitting, key=lambda each: each[0])[:_VALUES]:
        yield Edit(value, (), lambda array=array: jax.numpy.asarray(array))


def _in_ports(array: Array, shape: tuple[int, ...]) -> Array | None:
    if array.shape == shape:
        return array
    if array.ndim > 2 and (moved := np.moveaxis(array, 1, -1)).shape == shape:
        return moved
    return None
