"""The JAX side of a check: its rule, its free run and its loss, each evaluated."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optax

from torch_bridge.judge.compare import compare
from torch_bridge.judge.diagnosis import Diagnosis
from torch_bridge.judge.findings import HELD, norm
from torch_bridge.judge.hazards import hazards_of
from torch_bridge.judge.lanes import CannotWiden
from torch_bridge.judge.layers.notes import unmatched_note
from torch_bridge.judge.layers.port_layers import PortLayers, layers_of
from torch_bridge.judge.numbers import scalar_differences
from torch_bridge.judge.own_gradients import own_gradients_difference
from torch_bridge.judge.programs import Programs, programs_of_loss, programs_of_step
from torch_bridge.judge.report import first_imprecision, precisions_of
from torch_bridge.judge.rule_precision import rule_precisions, worth_measuring
from torch_bridge.judge.rules import RuleJudge
from torch_bridge.judge.step_function import StepRuleJudge, StepStates
from torch_bridge.judge.sudden import SAMPLE, SuddenSteps
from torch_bridge.judge.twins import TwinJudge
from torch_bridge.replaying.batches import indices_of
from torch_bridge.replaying.envelope import distance
from torch_bridge.replaying.layout import Layout, layout_of
from torch_bridge.replaying.model_state import Buffers
from torch_bridge.replaying.replay import Replay
from torch_bridge.replaying.steps import Carry, LossFn, StepFunction
from torch_bridge.trace.dtypes import same_bits
from torch_bridge.trace.keep import Keep
from torch_bridge.trace.phases import name_of, phase_of
from torch_bridge.trace.trace import Array, Step, Trace, in_phase
from torch_bridge.weights import Weights, same_weights

LARGE = 2**28
"""Bytes of a trace from which on the port's own traces hold digests."""


@dataclass
class Port:
    """The JAX side, as `check` was given it."""

    trace: Trace
    tx: optax.GradientTransformation | None
    loss_fn: LossFn | None
    weights: Weights | None
    buffers: Buffers
    opt_state: optax.OptState | None
    step: StepFunction | None
    state: Carry
    batch: Callable[[int, Any], Any]
    order: Sequence[Array] | None
    progress: Callable[[], None]
    states: dict[int, Carry] = field(default_factory=dict)  # of a step function, before the steps evaluated in float64
    sudden: Sequence[int] = ()  # the steps without a twin that are evaluated in float64 nevertheless
    rule_steps: Sequence[int] | None = None  # the steps at which its rule can be evaluated; None are all of those
    without_buffers: Sequence[int] = ()  # the steps at which its model state is not torch's
    layers: PortLayers | None = field(init=False)

    def __post_init__(self) -> None:
        self.layers = layers_of(self.trace, self.weights)

    def programs(self) -> Programs:
        """Return the programs of its loss, or of its step function, with points at its layers."""
        watch = None if self.layers is None else self.layers.watch
        if self.loss_fn is not None:
            return programs_of_loss(self.loss_fn, self.buffers is not None, watch)
        assert self.step is not None
        return programs_of_step(self.step, watch)

    def update(self, found: Diagnosis) -> None:
        """Feed torch's gradients to the rule; where its bits are not torch's, evaluate it in float64."""
        assert self.tx is not None
        trace, weights = self.trace, self.torch_weights()
        side = Replay(
            trace.initial, self.tx, header=trace.static, drive="update", weights=self.weights, opt_state=self.opt_state,
            keep=self._keep(),
        )  # fmt: skip
        judge = RuleJudge(trace, self.tx, weights)
        twins, furthest, differed = set(trace.twins), 0.0, False
        for t in range(trace.n_steps):
            recorded, before = trace.step(t), side.state
            values = side.step({}, recorded)
            off = _furthest(recorded, values, (*trace.state, "parameter", "average"))
            # Each step whose distance stands out from those that were evaluated, and the steps with twins.
            if off > 0 and (not differed or t in twins or off > 4 * furthest):
                differed, furthest = True, max(furthest, off)
                same = self._judge_rule(found, judge, t, before[1], recorded, values)
                if same and worth_measuring(off, recorded):
                    found.rule_precisions += rule_precisions(trace, self.tx, weights, t, before[1])
            self.progress()
        replayed = side.trace()
        found.runs["update"], found.drives["update"] = replayed, compare(trace, replayed)
        found.others += scalar_differences(trace, replayed)

    def _judge_rule(
        self, found: Diagnosis, judge: RuleJudge, t: int, opt_state: Any, recorded: Step, values: Step
    ) -> bool:
        """Compare the rules in float64 at one step; True if they agree."""
        rates = [key for key in values if phase_of(key) == "learning_rate"]
        same_rate = bool(rates) and all(
            key in recorded and np.isclose(values[key], recorded[key], rtol=2 * HELD, atol=0) for key in rates
        )
        try:
            findings = judge.judge(t, opt_state, recorded.get("metric"), own_state=t == 0, rate_is_torchs=same_rate)
        except CannotWiden as error:
            note = f"The update rule could not be evaluated in float64: {error}."
            found.notes += [note] * (note not in found.notes)
            return False
        found.rules += findings
        return all(finding.same for finding in findings)

    def free(self, found: Diagnosis, shadows: int) -> None:
        """Run the port alone, from the first state; keep a step function's states where it will be evaluated."""
        side = Replay(
            self.trace.initial, self.tx, header=self.trace.static, drive="free", loss_fn=self.loss_fn,
            weights=self.weights, buffers=self.buffers, opt_state=self.opt_state, step=self.step, state=self.state,
            shadows=shadows, keep=self._keep(),
        )  # fmt: skip
        steps, sudden = self._loss_steps(), SuddenSteps()
        for t in range(self.trace.n_steps):
            recorded, before = self.trace.step(t), side.state if self.step is not None else None
            if t in steps and self.step is not None:
                self.states[t] = before
            values = side.step({}, recorded, self.batch(t, self._indices(t, recorded)))
            sudden.see(t, recorded, values, before)
            self.progress()
        self.sudden = [t for t in sudden.states if t not in steps]
        if self.step is not None:
            self.states |= {t: sudden.states[t] for t in self.sudden}
        replayed = side.trace()
        found.runs["free"] = replayed
        found.drives["free"] = compare(self.trace, replayed)
        if self.tx is None:
            found.others += scalar_differences(self.trace, replayed)

    def twins(self, found: Diagnosis, programs: Programs) -> None:
        """Evaluate loss and gradient in float64, at the steps with twins."""
        reasons = self.trace.static.get("twins", {}).get("reasons", {})
        found.notes += [f"Step {step} has no float64 twin: {reason}" for step, reason in reasons.items()]
        if not self.trace.twins:
            found.notes.append(
                "The trace holds no float64 twins: torch's own values were held against the port in float64, so that "
                "what is as small as torch's rounding error cannot be found. Record with twins."
            )
        steps = self._loss_steps()
        judge = TwinJudge(programs, self.layout(), self.layers)
        try:
            if self.step is not None:
                steps = self._bring_to_torchs(found, steps)
                self._judge_step_rule(found, steps)
            states = self.states if self.step is not None else None
            found.twins = judge.judge(self.trace, self.batch_at, steps, states, self.without_buffers)
            same = all(finding.same for finding in found.twins.functions)  # where digits are lost matters only then
            if self.step is None and same and first_imprecision(precisions_of(found.twins.precisions)):
                found.line = judge.culprit(self.trace, self.batch_at(steps[0]), steps[0])
        except CannotWiden as error:
            found.notes.append(f"Loss and gradient could not be evaluated in float64: {error}.")
            return
        found.loss_steps = tuple(steps)
        self._note_buffers(found)
        found.notes += unmatched_note(found.twins.layers.layers)
        if self.layers is not None and self.layers.watch.failure:
            found.notes.append(f"The port's layers could not be named while it was traced: {self.layers.watch.failure}")

    def hazards(self, found: Diagnosis, programs: Programs) -> None:
        """Find forms in the program of the loss that fail on other data; measure them at the evaluated steps."""
        steps = found.loss_steps or self._loss_steps()[:1]
        found.hazards = hazards_of(programs.forward)((self.begins_with(programs, t), self.batch_at(t)) for t in steps)

    def begins_with(self, programs: Programs, t: int) -> Any:
        """What its programs are given at a step: torch's parameters and buffers, or the state of a step function."""
        return self.states[t] if self.step is not None else TwinJudge(programs, self.layout()).begin(self.trace, t)

    def _note_buffers(self, found: Diagnosis) -> None:
        """Name the buffers that change and were not compared: what they are acts at evaluation."""
        changing = [name_of(key) for key in self.trace.steps if phase_of(key) == "buffer"]
        compared = {f.name for f in (found.twins.functions if found.twins else ()) if f.phase == "buffer"}
        if left := [name for name in changing if name not in compared]:
            reason = "" if compared else ": the port shows no model state, see buffers="
            found.notes.append(f"Buffers that were not compared: {', '.join(left)}{reason}.")

    def _bring_to_torchs(self, found: Diagnosis, steps: Sequence[int]) -> list[int]:
        """Put torch's values into the states of a step function; without a place for them the first step remains."""
        assert self.step is not None
        # The first state is the port's own: that it is torch's is part of the question.
        places = StepStates(self.step, self.state, self.batch_at(0), self.layout(), self.trace.state)
        if not places.found("parameter"):
            found.notes.append(
                "The step function was evaluated in float64 at the first step alone: what it reports as its parameters "
                "is not what it hands on in its state."
            )
            return [0]
        if places.reports_buffers and not places.found("buffer"):
            self.without_buffers = [t for t in steps if t > 0]
            found.notes.append(
                "The model state of the step function was evaluated in float64 at the first step alone: what it "
                "reports as its buffers is not what it hands on in its state."
            )
        self.states |= {t: places.at(self.states[t], self.trace.before(t)) for t in steps if t > 0}
        held = [key for key in self.trace.state if any(phase_of(each) == key for each in self.trace.steps)]
        if missing := [key for key in held if not places.found(key)]:
            found.notes.append(
                "The rule of the step function was evaluated in float64 at the first step alone: it reports no "
                f"{', '.join(missing)} that it hands on in its state."
            )
            self.rule_steps = (0,)
        return list(steps)

    def _judge_step_rule(self, found: Diagnosis, steps: Sequence[int]) -> None:
        assert self.step is not None
        judge = StepRuleJudge(self.trace, self.step, self.torch_weights())
        for t in steps if self.rule_steps is None else self.rule_steps:
            found.rules += judge.judge(t, self.states[t], self.batch_at(t))

    def own_gradients(self, found: Diagnosis) -> None:
        """Where a step function's rule was evaluated at its first step alone, run torch's on the port's gradients."""
        if {finding.step for finding in found.rules} - {0} or self.trace.n_steps == 1:
            return
        if not any(phase_of(key) == "gradient" for key in found.runs["free"].steps):
            where = "at its first step alone" if found.rules else "at no step"
            found.notes.append(f"The rule of the step function was compared {where}: it reports no gradient.")
            return
        try:
            difference = own_gradients_difference(self.trace, found.runs["free"])
        except (TypeError, ValueError) as error:
            found.notes.append(f"The rule of the step function was not compared after its first step: {error}")
            return
        found.others += [difference] if difference is not None else []

    def _loss_steps(self) -> list[int]:
        """The steps at which loss and gradient are evaluated: those with twins, and those that a free run leaves at.

        A step function's first one is always among them.
        """
        steps = sorted({*(self.trace.twins or range(min(3, self.trace.n_steps))), *self.sudden})
        return steps if self.step is None or 0 in steps else [0, *steps]

    def _indices(self, t: int, recorded: Step) -> Any:
        return indices_of(recorded) if self.order is None else self.order[t]

    def batch_at(self, t: int) -> Any:
        """The batch of a step of torch's."""
        return self.batch(t, indices_of(self.trace.step(t)))

    def _keep(self) -> Keep:
        """Of a large run, keep only digests and the last step: the recorded one may fill half of the memory already."""
        size = sum(rows.nbytes for rows in self.trace.steps.values())
        return Keep("digest", every=self.trace.n_steps, gradients=False, norms=False) if size > LARGE else Keep()

    def layout(self) -> Layout:
        """How parameters lie, and the model state."""
        return layout_of(self.trace, self.weights, self.buffers, of_step=self.step is not None)

    def torch_weights(self) -> Weights:
        """The places of torch's parameters in the port's."""
        return self.weights or same_weights(in_phase(self.trace.initial, "parameter"))


def _furthest(recorded: Step, values: Step, phases: Sequence[str]) -> float:
    """The error of a step, relative to the step itself; 0 if no bit differs.

    Of a large array every k-th element is compared, and the others only if those are equal.
    """
    off = 0.0
    for key, value in values.items():
        if phase_of(key) not in phases or key not in recorded:
            continue
        reference = recorded[key]
        stride = 1 + reference.size // SAMPLE
        some, other = (np.asarray(x).reshape(-1)[::stride] for x in (reference, value))
        if not same_bits(some, other) or (stride > 1 and not same_bits(reference, value)):
            off = max(off, distance(some, other) / (norm(some) or 1.0), 1e-300)
    return off
