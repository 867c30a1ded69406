"""The diagnosis of a port, as plain data."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeAlias

from torch_bridge.judge.causes.cause import Cause, Trial
from torch_bridge.judge.compare import Comparison
from torch_bridge.judge.findings import FunctionFinding, PrecisionFinding
from torch_bridge.judge.hazards import Hazard
from torch_bridge.judge.history import History
from torch_bridge.judge.layers.layer import Layer
from torch_bridge.judge.origin import Origin
from torch_bridge.judge.preflight.finding import Preflight
from torch_bridge.judge.provenance import Provenance
from torch_bridge.judge.rule_findings import RuleFinding
from torch_bridge.judge.sentence import sentence
from torch_bridge.trace.trace import Trace

Verdict: TypeAlias = Literal["bitwise", "same function", "imprecise", "different"]
"""`bitwise`: equal in every bit. `same function`: equal in float64, and computed about as precisely as torch does.
`imprecise`: equal in float64, computed worse than torch's dtype does it. `different`: not the same function."""

FORMAT = 1
"""The version of `Report.to_dict`: raised when a key is removed or gets another meaning, not when one is added."""

FACTOR = 16.0
"""By what factor the port's rounding error may exceed torch's before the port is called imprecise: four bits. Sums in
another order, such as XLA's in sequence beside torch's in pairs, stay well below it; the next narrower format is 2**8
or more away."""


NARROW_SUMS = 4.0
"""By what factor more a correct port may be off where torch computes in 16 bits: XLA takes sums in them, torch in
float32."""


@dataclass(frozen=True)
class Difference:
    """The first place where the port is another function.

    Attributes:
        step: from 0.
        phase: one of `Trace.phases`.
        name: the layer, parameter or group by its torch name; empty for the loss.
        index: the element furthest off, in torch's layout.
        torch: torch's value there, in float64 where there is a twin.
        jax: the port's value there, likewise.
        distance: of the whole quantity, relative to torch's.
        limit: the distance that rounding explains.
        constants: relative errors of hyperparameters, or of constants of the loss function, ``"VALUE at LINE"``, that
            explain the difference, if any do.
    """

    step: int
    phase: str
    name: str
    index: tuple[int, ...]
    torch: float
    jax: float
    distance: float
    limit: float
    constants: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Precision:
    """The precision with which both sides compute one quantity: medians over the steps with twins.

    Attributes:
        phase: ``"forward"``, ``"loss"`` or ``"gradient"``.
        name: the layer or the parameter.
        torch: relative error of torch's value against its own float64 twin.
        jax: likewise of the port's.
        factor: the second over the first, which counts as no smaller than the error of rounding once, nor, for a
            gradient, than torch's median error of the gradients of a step.
    """

    phase: str
    name: str
    torch: float
    jax: float
    factor: float


@dataclass(frozen=True)
class Report:
    """The diagnosis of a port; plain data. ``str()`` of it is one sentence; `torch_bridge.render` makes tables.

    Attributes:
        verdict: see `Verdict`.
        n_steps: how many steps the runs have.
        loss_steps: the steps at which loss and gradient were evaluated in float64.
        rule_steps: the steps at which the update rule was evaluated in float64; none where its bits are torch's.
        difference: the first difference, if the port is another function.
        imprecision: the first quantity, in causal order, that is computed worse than torch's dtype does it.
        line: the line of the port's source, and the operation in it, at which most precision is lost; empty otherwise.
        functions: every comparison in float64, with its result.
        layers: torch's layers beside the port's, in the order in which torch ran them, at the first step that differs,
            or where none does at the first compared one. Where the layer of the port was found by its weights it
            decides nothing alone; ``difference`` names it where loss or gradients differ.
        rules: likewise of the update rule.
        precisions: one for each quantity, in causal order.
        discontinuities: how many quantities, over all steps, differ at a discontinuity of the function alone.
        flips: decisions of the port (signs, maxima) that fell differently in its own precision and in float64.
        hazards: forms in the port's loss that are right on these data and not on all, such as a softmax without its
            maximum; they are no part of the verdict, see `torch_bridge.judge.hazards`.
        causes: the proved causes of the difference, or of the imprecision, in causal order; empty where nothing in the
            catalogue makes the sides agree, see `torch_bridge.judge.causes`.
        tried: the repairs that were tried in vain, the nearest first; empty where there is a cause.
        substitutions: how many times torch's values took the place of the port's until the place was found.
        place: the names of the layers, parameters or groups that the fault is confined to, as substitution found them.
        drives: the comparison bit by bit under each drive that was run.
        runs: the port's traces under those drives; not part of `to_dict`.
        notes: what could not be evaluated, and why; full sentences.
        allow_imprecise: an imprecise port counts as the same.
        numbers: the phases that hold one number for each parameter group.
        preflight: what was found before the first step; no part of the verdict.
        history: the element of the first difference over the steps around it, on both sides.
        provenance: versions, machines and seeds of both sides.
        origin: what the check was given; not part of `to_dict`.
    """

    verdict: Verdict
    n_steps: int
    loss_steps: tuple[int, ...] = ()
    rule_steps: tuple[int, ...] = ()
    difference: Difference | None = None
    imprecision: Precision | None = None
    line: str = ""
    functions: tuple[FunctionFinding, ...] = ()
    layers: tuple[Layer, ...] = ()
    rules: tuple[RuleFinding, ...] = ()
    precisions: tuple[Precision, ...] = ()
    discontinuities: int = 0
    flips: int = 0
    hazards: tuple[Hazard, ...] = ()
    causes: tuple[Cause, ...] = ()
    tried: tuple[Trial, ...] = ()
    substitutions: int = 0
    place: tuple[str, ...] = ()
    drives: Mapping[str, Comparison] = field(default_factory=dict)
    runs: Mapping[str, Trace] = field(default_factory=dict, repr=False, compare=False)
    notes: tuple[str, ...] = ()
    allow_imprecise: bool = False
    numbers: tuple[str, ...] = ()
    preflight: Preflight = field(default_factory=Preflight)
    history: History | None = None
    provenance: Provenance = field(default_factory=Provenance)
    origin: Origin | None = field(default=None, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """True if the port is the same function and, unless that was allowed, not imprecise."""
        return self.verdict != "different" and (self.verdict != "imprecise" or self.allow_imprecise)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, fit for JSON; ``render/report.schema.json`` describes it."""
        data = asdict(replace(self, runs={}, origin=None))
        for key in ("runs", "origin"):
            data.pop(key)
        return {"format": FORMAT, "sentence": str(self), "ok": self.ok, **data}

    def save(self, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
        """Write the report into a folder: ``report.json``, the page ``report.html``, and ``junit.xml``.

        Args:
            folder: made if it is not there; files of these names in it are replaced.

        Returns:
            The files.
        """
        # What shows a report is built upon it, and not loaded with it.
        written: tuple[Path, ...] = import_module("torch_bridge.render.folder").save_report(self, folder)
        return written

    def reproduce(
        self,
        path: str | os.PathLike[str],
        *,
        port: str | None = None,
        trace: str | os.PathLike[str] | None = None,
    ) -> tuple[Path, Path]:
        """Write a script that shows the first difference, or the imprecision, alone, and the arrays it needs beside it.

        The script evaluates that one step again, with the port as it then is: it prints torch's number, JAX's, and the
        distance, and its exit status is 1 while they differ. It needs no torch.

        Args:
            path: the script, such as ``"reproduce.py"``; the arrays have its name with ``.npz``.
            port: where the port is, as the command line takes it: ``"port.py"``, ``"port.py:function"`` or
                ``"module:function"``. Without it the parts are imported from the modules that have them under a name;
                for others the script has a function to fill in.
            trace: the recorded run's file, if the port's function takes the trace.

        Returns:
            The script and the arrays.

        Raises:
            ValueError: there is nothing to show, or the path is no Python script's.
        """
        written: tuple[Path, Path] = import_module("torch_bridge.render.reproduce").write_reproduction(
            self, path, port=port, trace=trace
        )
        return written

    def __str__(self) -> str:
        return sentence(self)


def precisions_of(findings: Iterable[PrecisionFinding]) -> tuple[Precision, ...]:
    """Return the medians over the steps, in the order of the findings."""
    findings = list(findings)
    rows: dict[tuple[str, str], list[PrecisionFinding]] = {}
    gradients: dict[int, list[float]] = {}
    for finding in findings:
        rows.setdefault((finding.phase, finding.name), []).append(finding)
        if finding.phase == "gradient":
            gradients.setdefault(finding.step, []).append(finding.torch)
    # For a parameter whose gradient torch computes better than most, such as a bias summed in a wider type, the port is
    # held to torch's error in a typical parameter of that step.
    typical = {step: median(errors) for step, errors in gradients.items()}
    # XLA takes some sums of bfloat16 in bfloat16, torch in float32.
    typical = {step: error * (NARROW_SUMS if error > 2**-12 else 1) for step, error in typical.items()}

    def factor(finding: PrecisionFinding) -> float:
        # A running mean may be zero in exact arithmetic, and all of it rounding.
        if finding.phase == "buffer" and finding.torch > 2**-6:
            return 1.0
        expected = typical.get(finding.step, 0.0)
        # In 16 bits the loss, a single number, may be nearly exact by luck.
        if finding.phase in ("forward", "buffer") or (finding.phase == "loss" and expected <= 2**-12):
            expected = 0.0
        return finding.jax / max(finding.torch, finding.floor, expected)

    return tuple(
        Precision(phase, name, median(f.torch for f in row), median(f.jax for f in row), median(map(factor, row)))
        for (phase, name), row in rows.items()
    )


def first_imprecision(precisions: Iterable[Precision]) -> Precision | None:
    """Return the first quantity whose error exceeds torch's by more than `FACTOR`."""
    return next((p for p in precisions if not p.factor <= FACTOR), None)


def first_difference(
    functions: Iterable[FunctionFinding],
    rules: Iterable[RuleFinding],
    others: Iterable[Difference],
    phases: Sequence[str],
) -> Difference | None:
    """Return the earliest difference: by step, by causal order of the phases, one with a known cause, then as found."""
    findings: list[FunctionFinding | RuleFinding] = [*functions, *rules]
    found = [
        Difference(f.step, f.phase, f.name, f.index, f.reference, f.candidate, f.distance, f.limit, f.constants)
        for f in findings
        if not f.same
    ]
    return min([*others, *found], key=lambda d: (d.step, phases.index(d.phase), not d.constants), default=None)
