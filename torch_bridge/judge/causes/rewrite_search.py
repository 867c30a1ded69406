"""The search for the replacements inside a loss function after which loss and gradients are torch's."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from torch_bridge.judge.causes.cause import Trial
from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.causes.loss_cases import LossCase
from torch_bridge.judge.causes.loss_question import LossQuestion
from torch_bridge.judge.causes.newton import fitted
from torch_bridge.judge.causes.rewrites import ENTRIES, Program, Rewrite, alike, position_of
from torch_bridge.judge.causes.search import Agreement, Search
from torch_bridge.judge.programs import Programs
from torch_bridge.judge.rewriting.edit import Edit
from torch_bridge.judge.rewriting.evaluation import Evaluated, Rewritten
from torch_bridge.judge.rewriting.graph import Graph, graph_of
from torch_bridge.judge.rewriting.layers_by_value import LayersByValue
from torch_bridge.judge.widening import Reading, traced, widened
from torch_bridge.trace.trace import Array, in_phase

if TYPE_CHECKING:
    from torch_bridge.judge.port import Port

_MOST = 3  # faults at once
_FITS = 60  # sites at which a constant is fitted
_PROOFS = 6  # replacements that are evaluated with their gradients, in one search


@dataclass(eq=False)
class RewriteSearch:
    """The search for replacements after which loss and gradients are torch's.

    Attributes:
        programs: the port.
        reading: how its numbers are read.
        cases: the steps.
        layers: torch's, to be found among the values of the first step.
        entries: those that are tried.
        trials: what was tried, with the distance of the loss that it left.
    """

    programs: Programs
    reading: Reading
    cases: Sequence[LossCase]
    layers: LayersByValue | None = None
    entries: Sequence[Entry] = ENTRIES
    trials: list[Trial] = field(default_factory=list)
    evaluations: int = 0
    _proofs: int = 0

    @cached_property
    def steps(self) -> list[Program]:
        """The steps as graphs; of equal shapes one graph."""
        graphs: dict[Any, Graph] = {}
        steps = []
        for case in self.cases:
            leaves, structure = jax.tree.flatten(case.args)
            key = structure, tuple((np.shape(x), str(np.asarray(x).dtype)) for x in leaves)
            if key not in graphs:
                closed, _ = traced(self.programs.forward, case.args, self.reading)
                graphs[key] = graph_of(closed)
            steps.append(Program(case, graphs[key], Evaluated(graphs[key], leaves, self.reading)))
        return steps

    @property
    def has_linear_errors(self) -> bool:
        """True if the loss takes some errors' magnitude and limits something, as Huber's does."""
        names = {op.name for op in self.steps[0].patterns.ops}
        return "abs" in names and bool(names & {"min", "clamp", "select_n"})

    def run(self) -> tuple[tuple[Rewrite, ...], list[LossCase], Agreement | None]:
        """Return the replacements that make the sides agree, the cases with them, and the agreement.

        None where there are no such. Replacements without an agreement bring layers to torch's, and something behind
        these still differs.
        """
        with np.errstate(all="ignore"):  # what is tried may be nonsense
            return self._run()

    def _run(self) -> tuple[tuple[Rewrite, ...], list[LossCase], Agreement | None]:
        chosen: tuple[Rewrite, ...] = ()
        reached, after = self._reached((), 0)
        for _ in range(_MOST):
            best: tuple[int, int, Rewrite | None] = (reached, after, None)
            for rewrite in self._candidates(after):
                changed = self._changed(0, (*chosen, rewrite))
                if changed is None:
                    continue
                if (proof := self._proof((*chosen, rewrite), changed)) is not None:
                    return proof
                if self.layers is not None:
                    further, number = self._reached(changed.items(), best[0])
                    best = (further, number, rewrite) if further > best[0] else best
            if best[2] is None:
                break
            reached, after, chosen = best[0], best[1], (*chosen, best[2])
            mended = self._mended(chosen)
            if mended is not None and Search(LossQuestion(mended)).run(1):
                return chosen, mended, None
        for some in dict.fromkeys((chosen, ())):
            if (proof := self._fits(some)) is not None:
                return proof
        if chosen and (mended := self._mended(chosen)) is not None:
            return chosen, mended, None
        return (), [], None

    def _candidates(self, after: int, fitted: bool = False) -> list[Rewrite]:
        """The replacements, those with a constant or those without: first those from an operation on, then others."""
        found: list[Rewrite] = []
        for entry in self.entries:
            if entry.fitted == fitted:
                single = list(self.steps[0].rewrites(entry))
                found += [*single, *alike(single)]
        return sorted(found, key=lambda each: (each.number < after, 0 if fitted else each.number))

    def _changed(self, step: int, rewrites: Sequence[Rewrite]) -> Any:
        """The values that change with replacements; None where one does not fit."""
        self.evaluations += 1
        try:
            return self.steps[step].evaluated.changed(self._edits(step, rewrites))
        except Exception:  # a replacement may be nonsense in a place, and no primitive has one error for that
            return None

    def _edits(self, step: int, rewrites: Sequence[Rewrite]) -> list[Edit]:
        """The edits of replacements at a step; found anew where its graph is another one."""
        edits: list[Edit] = []
        for each in rewrites:
            if self.steps[step].graph is self.steps[0].graph:
                edits += each.edits
                continue
            single = list(self.steps[step].rewrites(each.entry))
            there = replace(each, edits=tuple(edit for i in each.positions for edit in single[i].edits))
            if [position_of(edit) for edit in there.edits] != [position_of(edit) for edit in each.edits]:
                raise ValueError("the program is another one at this step")
            constant = each.edits[0].constant
            edits += there.edits if constant is None else there.fitted(constant).edits
        return edits

    def _reached(self, changed: Any, beyond: int) -> tuple[int, int]:
        """How far down the order torch's layers are found, with some values changed; and the last one's operation."""
        if self.layers is None:
            return 0, -1
        evaluated = self.steps[0].evaluated
        values = changed or [(x, evaluated.base[x]) for x in evaluated.graph.values()]
        found = self.layers.found(((x, np.asarray(array)) for x, array in values), beyond)
        last = max(found, default=None)
        if last is None:
            return beyond, -1
        op = found[last].op
        return last + 1, -1 if op is None else op.number

    def _proof(
        self, rewrites: tuple[Rewrite, ...], changed: Any
    ) -> tuple[tuple[Rewrite, ...], list[LossCase], Agreement] | None:
        """The replacements, if loss and gradients agree with them at every step."""
        first = self.steps[0]
        loss = first.loss(changed)
        if not first.agrees(loss):
            name = " + ".join(each.entry.name for each in rewrites)
            self.trials.append(Trial(name, abs(loss - first.torchs) / (abs(first.torchs) or 1.0)))
            return None
        for i, step in enumerate(self.steps[1:], 1):
            there = self._changed(i, rewrites)
            if there is None or not step.agrees(step.loss(there)):
                return None
        if self._proofs == _PROOFS:
            return None
        self._proofs += 1
        mended = self._mended(rewrites)
        try:
            agreement = None if mended is None else LossQuestion(mended).agreement(())
        except Exception:  # what has no derivative, for one
            return None
        if mended is None or agreement is None or not agreement.same:
            return None
        return rewrites, mended, agreement

    def _mended(self, rewrites: Sequence[Rewrite]) -> list[LossCase] | None:
        """The cases, their function with values replaced."""
        programs: dict[Graph, Any] = {}
        mended = []
        for i, step in enumerate(self.steps):
            try:
                edits = self._edits(i, rewrites)
            except (IndexError, ValueError):
                return None
            if step.graph not in programs:
                function = _with_gradient(Rewritten(step.graph, edits), self.programs.has_state)
                programs[step.graph] = widened(function, reading=self.reading)
            mended.append(replace(step.case, program=programs[step.graph], known={}))
        return mended

    def _fits(self, chosen: tuple[Rewrite, ...]) -> tuple[tuple[Rewrite, ...], list[LossCase], Agreement] | None:
        """A replacement with a constant, after which the sides agree."""
        steps = range(min(len(self.steps), 3))
        for rewrite in self._candidates(self._reached((), 0)[1], fitted=True)[:_FITS]:

            def residual(constant: float, rewrite: Rewrite = rewrite) -> Array:
                rows = []
                for i in steps:
                    step, changed = self.steps[i], self._changed(i, (*chosen, rewrite.fitted(constant)))
                    gap = np.inf if changed is None else step.loss(changed) - step.torchs
                    rows.append(gap / (abs(step.torchs) or 1.0))
                return np.array(rows)

            starts = (rewrite.edits[0].own, rewrite.entry.start)
            constant = fitted(residual, [start for start in dict.fromkeys(starts) if start])
            for each in () if constant is None else dict.fromkeys((round(float(f"{constant:.6g}"), 9) + 0.0, constant)):
                made = (*chosen, rewrite.fitted(each))
                changed = self._changed(0, made)
                if changed is not None and (proof := self._proof(made, changed)) is not None:
                    return proof
        return None


def _with_gradient(rewritten: Rewritten, has_state: bool) -> Any:
    """``(begin, batch) -> (loss, gradient, None)``, as `torch_bridge.judge.programs.LossAndGradient`."""

    def function(begin: Any, batch: Any) -> tuple[Any, Any, None]:
        params, rest = (begin[0], begin[1:]) if has_state else (begin, ())

        def loss(params: Any) -> Any:
            given = (params, *rest) if has_state else params
            return rewritten(*jax.tree.leaves((given, batch)))[0]

        return *jax.value_and_grad(loss)(params), None

    return function


def search_of(port: "Port", programs: Programs, reading: Reading, cases: Sequence[LossCase]) -> RewriteSearch | None:
    """Return the search for a port with a loss function; None where there is no loss of torch's to compare with.

    Args:
        port: the JAX side.
        programs: of its loss.
        reading: how its numbers were read.
        cases: the steps.
    """
    if port.loss_fn is None or not cases or any("loss" not in case.reference for case in cases):
        return None
    twin = port.trace.twins.get(cases[0].step)
    torchs = {} if twin is None else {name: np.asarray(x, np.float64) for name, x in in_phase(twin, "forward").items()}
    layers = LayersByValue(torchs, list(torchs)) if torchs else None
    return RewriteSearch(programs, reading, cases, layers)
