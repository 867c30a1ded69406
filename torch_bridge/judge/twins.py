"""Loss and gradient at the steps for which a trace holds float64 twins: the same function, and how precisely
computed.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from torch_bridge.judge.buffer_causes import with_cause
from torch_bridge.judge.constants import repaired
from torch_bridge.judge.findings import (
    HELD,
    FunctionFinding,
    PrecisionFinding,
    coarse_limits,
    errors_of_torch,
    function_finding,
    is_counted,
    norm,
    precision_finding,
    unit_roundoff,
)
from torch_bridge.judge.lanes import CannotWiden
from torch_bridge.judge.layers.findings import LayerFindings, layer_findings
from torch_bridge.judge.layers.port_layers import PortLayers
from torch_bridge.judge.movable import Movable
from torch_bridge.judge.nudges import NUDGE, jumps
from torch_bridge.judge.programs import Programs
from torch_bridge.judge.twin_case import TwinCase, case_of
from torch_bridge.judge.widening import Reading, Widened, beside
from torch_bridge.replaying.layout import Layout
from torch_bridge.trace.phases import name_of, phase_of
from torch_bridge.trace.trace import Array, Step, Trace, in_phase


@dataclass(frozen=True)
class TwinFindings:
    """The findings at the steps with twins, plain data.

    Attributes:
        functions: one finding for each quantity and step.
        precisions: likewise, where both sides have a value of their own.
        reading: how Python numbers of the port were read in float64, see `torch_bridge.judge.widening.Reading`.
        layers: torch's layers beside the port's, and where a difference begins.
        flips: decisions (signs, maxima) that fell differently in the port's own precision and in float64, over all
            steps.
    """

    functions: tuple[FunctionFinding, ...]
    precisions: tuple[PrecisionFinding, ...]
    reading: Reading
    layers: LayerFindings
    flips: int


class TwinJudge:
    """Evaluates a port in float64; its programs are compiled once for each loss function, and kept."""

    def __init__(self, programs: Programs, layout: Layout, layers: PortLayers | None = None) -> None:
        """Take the programs of `programs_of_loss` or `programs_of_step`; nothing is compiled yet.

        Args:
            programs: of the port, with points at its layers if these are given.
            layout: the places of torch's parameters and buffers.
            layers: of the port.
        """
        self._layout, self._programs, self._layers = layout, programs, layers
        self._momenta: Mapping[str, float | None] = {}

    def judge(
        self,
        trace: Trace,
        batches: Callable[[int], Any],
        steps: Sequence[int],
        states: Mapping[int, Any] | None = None,
        without_buffers: Collection[int] = (),
    ) -> TwinFindings:
        """Compare the port with the twins of a trace.

        A step without a twin is compared in torch's own precision: the port in float64 is the truth, and what the
        port's own rounding explains, `COARSE` times, is what torch's value may be off by.

        Args:
            trace: a recorded run, with full values at these steps.
            batches: the batch of a step, as ``loss_fn`` takes it.
            steps: the steps to evaluate.
            states: by step, what a step function begins with, in place of torch's parameters.
            without_buffers: the steps at which a step function does not begin with torch's buffers.

        Raises:
            CannotWiden: the port has no float64 form.
        """
        cases = [case_of(trace, t, self.begin(trace, t) if states is None else states[t], batches(t)) for t in steps]
        for case in cases:
            if case.step in without_buffers:
                case.drop("buffer")
        precisions, flips = [], 0
        errors = errors_of_torch(trace) if any(case.twin is None for case in cases) else {}
        for case in cases:
            findings, n = self._precisions(case, errors)
            precisions += findings
            flips += n
        self._momenta = trace.static.get("momenta", {})
        functions, reading = self._read(cases)
        by_step = {case.step: case for case in cases if case.twin is not None}
        limits = {step: case.limits for step, case in by_step.items()}
        names = lambda step: by_step[step].wide[reading].names  # noqa: E731
        layers = layer_findings(trace, functions, self._layers, limits, names)
        return TwinFindings(tuple(functions), tuple(precisions), reading, layers, flips)

    def _read(self, cases: Sequence[TwinCase]) -> tuple[list[FunctionFinding], Reading]:
        """The findings under the first reading of numbers by which nothing differs, or that which agrees furthest."""
        refusals: list[CannotWiden] = []
        # What was evaluated beside the port's own precision comes first: it is there already.
        for reading in sorted(self._programs.wide, key=lambda reading: reading != "as traced"):
            try:
                functions = self._functions(cases, reading)
            except CannotWiden as error:
                refusals.append(error)
                continue
            if all(finding.same for finding in functions):
                return functions, reading
        if len(refusals) == len(self._programs.wide):
            raise refusals[0]
        readings = []
        for reading in self._programs.wide:
            try:
                functions = self._functions(cases, reading, nudge=True)
            except CannotWiden:
                continue
            readings.append((functions, reading))
            if all(finding.same for finding in functions):
                break
        # The reading that agrees furthest down the causal order is the one that the port was written in.
        functions, reading = max(readings, key=lambda r: _agreement(r[0]))
        functions = self._with_causes(cases, functions, reading)
        if not all(finding.same or finding.cause or finding.constants for finding in functions):
            functions = self._explained(cases, functions, reading)
        return functions, reading

    def _with_causes(
        self, cases: Sequence[TwinCase], functions: list[FunctionFinding], reading: Reading
    ) -> list[FunctionFinding]:
        """The findings, with the mistakes that explain buffers."""
        by_step = {case.step: case for case in cases}
        found = []
        for finding in functions:
            if finding.phase == "buffer" and not finding.same:
                case = by_step[finding.step]
                mine = self._named(case.wide[reading], case.reference, side=1)
                finding = with_cause(finding, case.before, case.reference, mine, case.limits, self._momenta)
            found.append(finding)
        return found

    def _explained(
        self, cases: Sequence[TwinCase], functions: list[FunctionFinding], reading: Reading
    ) -> list[FunctionFinding]:
        """The findings, with the constants of the port whose change would mend them, if there are such."""
        first = next(finding.step for finding in functions if not finding.same)
        cases = sorted(cases, key=lambda case: case.step != first)
        movables = [Movable(self._programs.function, (case.params, case.batch), reading) for case in cases]
        found = repaired(
            [
                (
                    lambda *how, m=movable, c=case: self._named(m(*how), _unexplained(c, functions), side=1),
                    _unexplained(case, functions),
                    case.limits,
                )
                for movable, case in zip(movables, cases, strict=True)
            ],
            movables[0].constants,
        )
        if found is None:
            return functions
        wrong = {words: 1 / (1 + move) - 1 for words, move in found.constants.items() if abs(move) > HELD}
        known = (f.same or bool(f.cause) or bool(f.constants) for f in functions)
        return [
            f if mended else replace(f, constants=wrong, held=not wrong)
            for f, mended in zip(functions, known, strict=True)
        ]

    def begin(self, trace: Trace, step: int) -> Any:
        """Return what the port's programs are given at a step: torch's parameters, and its buffers where they count."""
        before = trace.before(step)
        params = self._layout.weights.to_jax(in_phase(before, "parameter"))
        if not self._programs.has_state:
            return params
        assert self._layout.model_state is not None  # as the programs were made
        return params, self._layout.model_state.to_jax(before)

    def culprit(self, trace: Trace, batch: Any, step: int) -> str:
        """Return the line of the port, and the operation in it, at which most precision is lost in a step.

        Args:
            trace: the recorded run.
            batch: the step's batch.
            step: its number.
        """
        run = trace.step(step)
        expected = max(unit_roundoff(value.dtype) for key, value in run.items() if phase_of(key) == "gradient")
        params = self.begin(trace, step)
        lines = beside(self._programs.function, share_decisions=True, locate=expected)(params, batch).lines
        line, _ = max(lines, key=lambda each: np.inf if np.isnan(each[1]) else each[1])
        return line.rpartition("/")[2]  # without the folders

    def _functions(self, cases: Sequence[TwinCase], reading: Reading, *, nudge: bool = False) -> list[FunctionFinding]:
        """Compare the cases under one reading of numbers; ``nudge`` finds where the function is discontinuous."""
        findings: list[FunctionFinding] = []
        for case in cases:
            if reading not in case.wide:
                case.wide[reading] = self._programs.wide[reading](case.params, case.batch)
            mine = self._named(case.wide[reading], case.reference, side=1)
            pairs = [(key, np.asarray(case.reference[key], np.float64), mine[key]) for key in _in_order(mine)]
            off = [key for key, reference, value in pairs if not norm(reference - value) <= case.limits[key]]
            jumping = self._jumps(case, mine, reading) if off and nudge else {}
            findings += [
                function_finding(case.step, key, reference, value, case.limits[key], jumping.get(key))
                for key, reference, value in pairs
            ]
        return findings

    def _jumps(self, case: TwinCase, at: Step, reading: Reading) -> dict[str, Array]:
        """For each quantity, by how much each element jumps when the inputs are nudged."""

        def evaluate(nudged: Any) -> Step:
            result = self._programs.wide[reading](case.params, case.batch, at=nudged)
            return self._named(result, case.reference, side=1)

        size = NUDGE if case.twin is not None else 4 * unit_roundoff(np.float32)
        return jumps(evaluate, (case.params, case.batch), at, size)

    def _precisions(self, case: TwinCase, errors: Mapping[str, float]) -> tuple[list[PrecisionFinding], int]:
        """Both sides' rounding errors; fills the limits of a case without a twin, which follow from them.

        Args:
            case: the step.
            errors: torch's at the steps with twins.
        """
        both = self._programs.beside(case.params, case.batch)
        case.wide["as traced"] = both  # its wide side is that program
        if flips := int(both.flips):
            both = self._programs.same_branch(case.params, case.batch)
        narrow, wide = (self._named(both, case.reference, side) for side in (0, 1))
        keys = [key for key in _in_order(narrow) if key in case.run and not is_counted(case.run[key])]
        if case.twin is None:
            case.limits |= coarse_limits(narrow, wide, case.run, errors)
        return [
            precision_finding(case.step, key, case.run[key], (case.twin or wide)[key], narrow[key], wide[key])
            for key in keys
        ], flips

    def _named(self, result: Widened, reference: Step, side: int) -> dict[str, Array]:
        """The quantities of a result that torch has too, by key and in torch's layout."""
        loss, gradient, buffers = result.wide if side else result.narrow
        observed = {"loss": loss, "gradient": gradient, "buffer": buffers}
        values = self._layout.named({phase: tree for phase, tree in observed.items() if tree is not None})
        for key in reference:
            if phase_of(key) != "forward":
                continue
            output = result.names.get(name_of(key))
            array = None if output is None else in_layout_of(np.asarray(output[side]), np.shape(reference[key]))
            if array is not None:
                values[key] = array
        named = {key: value for key, value in values.items() if key in reference and phase_of(key) != "buffer"}
        return named | {key: values[key] for key in reference if phase_of(key) == "buffer" and key in values}


def _unexplained(case: TwinCase, functions: Sequence[FunctionFinding]) -> Step:
    """What torch had at a step, without the buffers whose difference is explained."""
    explained = {f.name for f in functions if f.phase == "buffer" and (f.cause or f.constants)}
    return {
        key: value
        for key, value in case.reference.items()
        if phase_of(key) != "buffer" or name_of(key) not in explained
    }


def _agreement(findings: list[FunctionFinding]) -> int:
    """The number of quantities that agree before the first that does not."""
    return next((position for position, finding in enumerate(findings) if not finding.same), len(findings))


def in_layout_of(array: Array, shape: tuple[int, ...]) -> Array | None:
    """Return an activation in torch's layout: as it is, or with its channels moved from last to second; else None."""
    if array.shape == shape:
        return array
    if array.ndim > 2 and (moved := np.moveaxis(array, -1, 1)).shape == shape:
        return moved
    return None


def _in_order(values: Mapping[str, Any]) -> Iterator[str]:
    order = {"forward": 0, "loss": 1, "gradient": 2, "buffer": 3}
    return iter(sorted(values, key=lambda key: order[phase_of(key)]))  # stable: layers and parameters as recorded
