"""From a report that something differs to its causes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from torch_bridge.judge.causes import order
from torch_bridge.judge.causes.average_question import average_question
from torch_bridge.judge.causes.catalogue import entry_named
from torch_bridge.judge.causes.cause import Cause, Trial
from torch_bridge.judge.causes.criterion import SMOOTH_L1_BETA
from torch_bridge.judge.causes.environment_cases import compiled_again, in_64_bits, precise_elsewhere
from torch_bridge.judge.causes.first_state import first_state
from torch_bridge.judge.causes.function import CONSTANT
from torch_bridge.judge.causes.location import place_of
from torch_bridge.judge.causes.loss_cases import LossCase, loss_cases
from torch_bridge.judge.causes.loss_question import LossQuestion
from torch_bridge.judge.causes.narrow_rule import narrow_rule
from torch_bridge.judge.causes.other_number import other_number
from torch_bridge.judge.causes.rewrite_search import search_of
from torch_bridge.judge.causes.rewrites import causes_of
from torch_bridge.judge.causes.rule_cases import rule_cases, steps_to_explain
from torch_bridge.judge.causes.rule_question import RuleQuestion
from torch_bridge.judge.causes.search import Agreement, Question, Search
from torch_bridge.judge.causes.statistics import NOT_COUNTED, NOT_UPDATED
from torch_bridge.judge.causes.step_cases import step_cases
from torch_bridge.judge.causes.traced_again import narrow_parts, without_stops
from torch_bridge.judge.findings import FunctionFinding
from torch_bridge.judge.lanes import CannotWiden
from torch_bridge.judge.programs import Programs
from torch_bridge.judge.widening import Reading
from torch_bridge.replaying.batches import indices_of
from torch_bridge.trace.phases import FUNCTION
from torch_bridge.trace.trace import Array

if TYPE_CHECKING:
    from torch_bridge.judge.port import Port
    from torch_bridge.judge.report import Difference, Report
    from torch_bridge.judge.twins import TwinFindings

_FACTORS = ("loss-halved", "loss-doubled", "loss-scaled")
_TRIED = 12
"""So many of the repairs that failed are reported."""


@dataclass(frozen=True)
class Explanation:
    """What was found on one part of a step.

    Attributes:
        causes: the proved ones; empty if nothing makes the sides agree.
        tried: the repairs that failed, if all did.
    """

    causes: tuple[Cause, ...] = ()
    tried: tuple[Trial, ...] = ()


def explained(report: "Report", port: "Port", twins: "TwinFindings | None" = None) -> "Report":
    """Return a report with the causes of its difference, or of its imprecision, as far as they can be proved."""
    if report.verdict not in ("different", "imprecise"):
        return _with_bits(report, port)
    parts: list[Explanation] = []
    questions: dict[str, Callable[[], list[Explanation]]] = {
        "the order of batches": lambda: _of_order(report, port),
        "loss and gradients": lambda: _of_loss(report, port, twins),
        "running statistics": lambda: _of_statistics(report, port),
        "the update rule": lambda: _of_rule(report, port),
        "the precision of the rule": lambda: _of_narrow_rule(report, port),
    }
    with np.errstate(all="ignore"):  # what is tried may be nonsense
        for name, explanations in questions.items():
            try:
                parts += explanations()
            except Exception as error:  # the port's own functions run here, on other batches; the verdict stands
                note = f"The cause could not be sought in {name}: {type(error).__name__}: {error}"
                report = replace(report, notes=(*report.notes, note))
        try:
            place, substitutions = place_of(report, port, twins)
        except Exception as error:  # likewise
            place, substitutions = (), 0
            note = f"The place could not be confined: {type(error).__name__}: {error}"
            report = replace(report, notes=(*report.notes, note))
    causes = tuple(cause for part in parts for cause in part.causes)
    tried = tuple(trial for part in parts for trial in part.tried)
    found = replace(report, causes=causes, tried=tried, place=place, substitutions=substitutions)
    return replace(found, difference=_without_a_likeness(found))


def _without_a_likeness(report: "Report") -> "Difference | None":
    """Return the difference; in the parameter where it was put down to a learning rate that is no cause of it.

    At one step of one parameter another direction may be a multiple of torch's.
    """
    first = report.difference
    if (
        first is None
        or first.phase != "learning_rate"
        or not any((f.step, f.phase, f.name) == (first.step, first.phase, first.name) for f in report.rules)
    ):
        return first
    if not report.causes or any(cause.family == "schedule" or cause.name == "ascent" for cause in report.causes):
        return first
    return replace(first, phase="parameter", constants={})


def _with_bits(report: "Report", port: "Port") -> "Report":
    """Return a report of a port that is the same function with the cause of other bits, as far as it is a setting."""
    try:
        return replace(report, causes=tuple(compiled_again(report, port)))
    except Exception as error:  # the port's own rule runs here; the verdict stands
        note = f"The cause of other bits could not be sought: {type(error).__name__}: {error}"
        return replace(report, notes=(*report.notes, note))


def answered(question: Question, steps: Sequence[int], before: float, most: int = 3) -> Explanation:
    """Return the causes that answer a question, with their evidence."""
    search = Search(question)
    repairs = search.run(most)
    if not repairs:
        return Explanation(tried=tuple(search.trials[:_TRIED]))
    after = question.agreement(repairs)
    causes = []
    for entry, constant in repairs:
        own, torchs = constant if entry.fitted else None, question.torchs(entry.number)
        sentence, fix = entry.worded(own, torchs)
        constants = {} if own is None else {entry.number or "constant": own}
        constants |= {"torch": torchs} if torchs is not None and entry.number else {}
        causes.append(
            Cause(entry.name, entry.family, sentence, fix, constants, tuple(steps), before, after.share, after.values)
        )
    return Explanation(tuple(causes))


def _of_order(report: "Report", port: "Port") -> list[Explanation]:
    if port.order is None or report.difference is None:
        return []
    recorded = [indices_of(port.trace.step(t)) for t in range(port.trace.n_steps)]
    torchs = [np.asarray(batch) for batch in recorded if batch is not None]
    mine = [np.asarray(batch) for batch in port.order]
    if len(torchs) < len(recorded) or order.same(torchs, mine):
        return []
    trials = []
    for entry in order.ENTRIES:
        left, right = entry.repair(torchs, mine)
        if order.same(left, right):
            before = _share_of_others(torchs, mine)
            sentence, fix = entry.worded(None, None)
            return [Explanation((Cause(entry.name, entry.family, sentence, fix, {}, (), before, 0.0, len(left)),))]
        trials.append(Trial(entry.name, _share_of_others(left, right)))
    return [Explanation(tried=tuple(sorted(trials, key=lambda trial: trial.distance)[:_TRIED]))]


def _share_of_others(left: Sequence[Array], right: Sequence[Array]) -> float:
    pairs = list(zip(left, right, strict=False))
    return sum(not np.array_equal(a, b) for a, b in pairs) / len(pairs) if pairs else 1.0


def _of_loss(report: "Report", port: "Port", twins: "TwinFindings | None") -> list[Explanation]:
    """Loss and gradients, from torch's parameters and batch; how precisely they are computed, if they agree."""
    off = [f for f in report.functions if not f.same and f.phase != "buffer"]
    bad = {f.step: f.distance for f in reversed(off)}
    imprecise = report.imprecision is not None and report.imprecision.phase in FUNCTION
    if twins is None or not (bad or imprecise):
        return []
    first = next(iter(off), None)
    if first is not None and len(first.constants) == 1:
        return [_of_constant(first, tuple(bad))]
    programs = port.programs()
    steps = sorted(report.loss_steps, key=lambda t: (t not in bad, t))
    try:
        cases = loss_cases(port, programs, twins.reading, tuple(steps))
        if first is None:
            if elsewhere := precise_elsewhere(report, cases, programs):
                return [Explanation(tuple(elsewhere))]
            causes, trials = narrow_parts(report, cases, programs)
            return [Explanation(tuple(causes), tuple(trials))]
        if overflows := in_64_bits(cases, programs, max(bad.values())):
            return [Explanation(tuple(overflows))]
        if first.phase != "gradient":
            return [_of_function(port, programs, twins.reading, cases, max(bad.values()))]
        stopped = without_stops(cases, programs, twins.reading, max(bad.values()))
        if isinstance(stopped, Cause):
            return [Explanation((stopped,))]
        return [answered(LossQuestion(cases), steps[:4], max(bad.values()))]
    except CannotWiden:  # the report has a note of it
        return []


def _of_function(
    port: "Port", programs: Programs, reading: Reading, cases: Sequence[LossCase], before: float
) -> Explanation:
    """One fault of the batch or of the loss as a number; then those inside the function; then several at once."""
    steps = tuple(case.step for case in cases)
    found = answered(LossQuestion(cases), steps, before, most=1)
    search = search_of(port, programs, reading, cases)
    if search is not None and any(cause.name in _FACTORS for cause in found.causes) and search.has_linear_errors:
        rewrites, _, agreement = replace(search, entries=(SMOOTH_L1_BETA,)).run()
        if agreement is not None:  # its division by beta is why the loss is a multiple
            return Explanation(causes_of(rewrites, agreement, steps, before))
    search = None if found.causes else search
    if search is None:
        return found if found.causes else answered(LossQuestion(cases), steps, before)
    rewrites, mended, agreement = search.run()
    if agreement is not None:
        return Explanation(causes_of(rewrites, agreement, steps, before))
    if rewrites:  # and something more than that
        rest = answered(LossQuestion(mended), steps, before)
        if rest.causes:
            proved = Agreement(0, True, 0.0, rest.causes[0].after, rest.causes[0].values)
            return Explanation((*causes_of(rewrites, proved, steps, before), *rest.causes))
    several = answered(LossQuestion(cases), steps, before)
    tried = sorted((*several.tried, *search.trials), key=lambda trial: trial.distance)
    return several if several.causes else Explanation(tried=tuple(tried[:_TRIED]))


def _of_statistics(report: "Report", port: "Port") -> list[Explanation]:
    """Running statistics: the mistakes that turn torch's into the port's, see `torch_bridge.judge.buffer_causes`."""
    found: dict[str, list[FunctionFinding]] = {}
    for f in report.functions:
        for name in f.cause.split(" + ") if f.phase == "buffer" and not f.same and f.cause else ():
            found.setdefault(name, []).append(f)
    kept = {_layer(f) for f in found.get(NOT_UPDATED.name, ())}
    if all(_layer(f) in kept for f in found.get(NOT_COUNTED.name, ())):  # the layer's whole state is the old one
        found.pop(NOT_COUNTED.name, None)
    causes = []
    for name, findings in found.items():
        entry, first = entry_named(name), findings[0]
        torchs = port.trace.static.get("momenta", {}).get(_layer(first))
        change = first.constants.get("momentum")
        own = torchs * (1 + change) if torchs is not None and change is not None else None
        sentence, fix = entry.worded(own, torchs)
        constants = {} if own is None else {"momentum": own, "torch": torchs}
        steps = tuple(dict.fromkeys(f.step for f in findings))
        before = max(f.distance for f in findings)
        causes.append(Cause(name, entry.family, sentence, fix, constants, steps, before, 1.0, len(findings)))
    return [Explanation(tuple(causes))] if causes else []


def _layer(finding: FunctionFinding) -> str:
    return finding.name.rpartition(".")[0]


def _of_constant(finding: FunctionFinding, steps: tuple[int, ...]) -> Explanation:
    """A constant of the function that was fitted, and after whose change all agree."""
    ((words, change),) = finding.constants.items()
    value, _, line = words.partition(" at ")
    torchs = float(value) / (1 + change)
    sentence, fix = CONSTANT.worded(float(value), torchs)
    return Explanation((
        Cause(CONSTANT.name, CONSTANT.family, f"{sentence} ({line})", f"{line}: {fix}",
              {"constant": float(value), "torch": torchs}, steps, finding.distance, 1.0, 1),
    ))  # fmt: skip


def _of_narrow_rule(report: "Report", port: "Port") -> list[Explanation]:
    """How precisely the update rule is computed, where it is torch's and the function is precise."""
    worst = report.imprecision
    if report.verdict != "imprecise" or worst is None or worst.phase in FUNCTION or port.tx is None:
        return []
    causes, trials = narrow_rule(port, report.rule_steps[0])
    return [Explanation(tuple(causes), tuple(trials))]


def _of_rule(report: "Report", port: "Port") -> list[Explanation]:
    """The update rule, from torch's gradients and state; and the average that follows."""
    bad = {f.step: f.distance for f in report.rules if not f.same}
    others = report.difference if report.difference is not None and report.difference.phase == "learning_rate" else None
    if others is not None:
        bad.setdefault(others.step, others.distance)
    if not bad:
        return []
    steps = steps_to_explain(port.trace, sorted(bad))
    try:
        cases = rule_cases(port, steps) if port.tx is not None else step_cases(port, steps)
    except CannotWiden:  # the report has a note of it
        return []
    if not cases:
        return []
    found = [Explanation(tuple(first_state(port)))] if 0 in bad and port.tx is not None else []
    first, steps = min(bad), sorted(case.step for case in cases)
    cases.sort(key=lambda case: (case.step < first, case.step))  # what differs rejects a repair soonest
    if not all(case.is_by_rule for case in cases):  # of an optimizer whose rule is not written down in pieces
        return [*found, Explanation(tuple(other_number(cases, max(bad.values()))))]
    rule, average = RuleQuestion(cases), average_question(port.trace, cases)
    for question in (rule, average):
        if question is not None and not question.agreement(()).same:
            found.append(answered(question, steps, max(bad.values())))
    return found
