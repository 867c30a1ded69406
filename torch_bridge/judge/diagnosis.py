"""The findings of a check, gathered until the verdict."""

from dataclasses import dataclass, field

from torch_bridge.judge.compare import Comparison
from torch_bridge.judge.findings import PrecisionFinding
from torch_bridge.judge.hazards import Hazard
from torch_bridge.judge.history import History, history_of
from torch_bridge.judge.layers.findings import LayerFindings
from torch_bridge.judge.origin import Origin
from torch_bridge.judge.preflight.finding import Preflight
from torch_bridge.judge.provenance import provenance_of
from torch_bridge.judge.report import Difference, Report, Verdict, first_difference, first_imprecision, precisions_of
from torch_bridge.judge.rule_findings import RuleFinding
from torch_bridge.judge.twins import TwinFindings
from torch_bridge.trace.trace import Trace


@dataclass
class Diagnosis:
    """The findings so far."""

    preflight: Preflight = field(default_factory=Preflight)
    origin: Origin | None = None
    drives: dict[str, Comparison] = field(default_factory=dict)
    runs: dict[str, Trace] = field(default_factory=dict)
    twins: TwinFindings | None = None
    line: str = ""
    loss_steps: tuple[int, ...] = ()
    rules: list[RuleFinding] = field(default_factory=list)
    rule_precisions: list[PrecisionFinding] = field(default_factory=list)
    others: list[Difference] = field(default_factory=list)
    hazards: tuple[Hazard, ...] = ()
    notes: list[str] = field(default_factory=list)

    def report(self, trace: Trace, allow_imprecise: bool) -> Report:
        """Return the verdict on what was found in a recorded run's port."""
        functions = self.twins.functions if self.twins else ()
        precisions = precisions_of((*(self.twins.precisions if self.twins else ()), *self.rule_precisions))
        layers = self.twins.layers if self.twins else LayerFindings()
        difference = first_difference((*layers.origins, *functions), self.rules, self.others, trace.phases)
        imprecision = first_imprecision(precisions)
        verdict: Verdict = "same function"
        if difference is not None:
            verdict = "different"
        elif imprecision is not None:
            verdict = "imprecise"
        elif all(comparison.identical for comparison in self.drives.values()):
            verdict = "bitwise"
        return Report(
            verdict=verdict,
            n_steps=trace.n_steps,
            loss_steps=self.loss_steps,
            rule_steps=tuple(sorted({finding.step for finding in self.rules})),
            difference=difference,
            imprecision=imprecision,
            line=self.line,
            functions=functions,
            layers=layers.layers,
            rules=tuple(self.rules),
            precisions=precisions,
            discontinuities=sum(f.discontinuous for f in functions),
            flips=self.twins.flips if self.twins else 0,
            hazards=self.hazards,
            drives=self.drives,
            runs=self.runs,
            notes=tuple(self.notes),
            allow_imprecise=allow_imprecise,
            numbers=trace.numbers,
            preflight=self.preflight,
            history=self._history(trace, difference),
            provenance=provenance_of(trace),
            origin=self.origin,
        )

    def _history(self, trace: Trace, first: Difference | None) -> History | None:
        if first is None:
            return None
        return history_of(trace, self.runs, first.phase, first.name, first.index, first.step)
