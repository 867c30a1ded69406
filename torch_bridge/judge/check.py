"""One diagnosis of a port: bits, function, precision, from a recorded run."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import optax

from torch_bridge.judge.evaluator import CannotWiden
from torch_bridge.judge.findings import norm, unit_roundoff
from torch_bridge.judge.report import (
    Difference,
    Report,
    Verdict,
    first_difference,
    first_imprecision,
    precisions_of,
)
from torch_bridge.judge.rule_findings import HELD, RuleFinding
from torch_bridge.judge.rules import RuleJudge
from torch_bridge.judge.twins import (
    Programs,
    TwinFindings,
    TwinJudge,
    programs_of_loss,
    programs_of_step,
)
from torch_bridge.parity.envelope import distance
from torch_bridge.parity.replay import Replay, batches_of, indices_of, replay
from torch_bridge.parity.report import Comparison, compare
from torch_bridge.parity.restore import restore
from torch_bridge.parity.steps import Carry, StepFunction
from torch_bridge.parity.trace import SCALARS, Array, Step, Trace, in_phase, name_of, phase_of
from torch_bridge.translate.weights import Weights, same_weights

LARGE = 2**28
"""Bytes of a trace from which on the port's own traces hold digests."""

SAMPLE = 2**14
"""Elements of an array by which its distance is estimated, to choose the steps that are asked about."""

_CONSTANTS = {"learning_rate": "lr", "momentum_in_force": "momentum", "weight_decay_in_force": "weight_decay"}


def check(
    trace: Trace,
    tx: optax.GradientTransformation | None = None,
    *,
    loss_fn: Callable[[Any, Any], jax.Array] | None = None,
    data: Any = None,
    weights: Weights | None = None,
    opt_state: optax.OptState | None = None,
    step: StepFunction | None = None,
    state: Carry = None,
    order: Sequence[Array] | None = None,
    shadows: int = 0,
    allow_imprecise: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> Report:
    """Say whether a JAX port is the PyTorch run that was recorded: the same bits, the same function, or another one.

    Two questions are asked, each in the arithmetic that can answer it. *Is it the same function?* At the steps for
    which the trace holds float64 twins, loss, gradients and named layers of the port are evaluated in float64, from
    torch's state, and compared with the twins; the update rule is compared in float64 with the recorded recipe,
    wherever its bits are not torch's. *Does it compute it as well?* The float32 (or bfloat16) result of each side is
    compared with its own float64 twin. How far apart the two runs drift when each goes alone decides nothing; it is
    in ``report.drives["free"]``.

    Args:
        trace: the recorded run.
        tx: the JAX rule, any optax transformation.
        loss_fn: ``loss_fn(params, batch)`` -> scalar, pure. Without it the update rule alone is judged. Layers are
            compared where it names their outputs by ``jax.ad_checkpoint.checkpoint_name(x, "torch's module name")``.
        data: a pytree of arrays with a leading axis of examples, or a function ``(step, indices) -> batch``; see
            `replay`.
        weights: how JAX's parameters lie to torch's; None keeps them in a dict by torch's names, in torch's layout.
        opt_state: the state of ``tx`` to begin with; None takes ``tx.init``.
        step: in place of ``tx`` and ``loss_fn``, a function that reports what it did, see `replay`. It is asked in
            float64 at the first step alone, the only one at which its state is known to be torch's.
        state: the first ``state`` for ``step``.
        order: the indices of each step's batch as the port draws them, to be compared with torch's. The free run
            takes them; questions in float64 are asked of torch's batches.
        shadows: how many copies of the free run with other roundings show its spread, for information; 0 or at least 2.
        allow_imprecise: let a port that is the same function, computed worse than torch does it, count as the same.
        progress: called after each step of each drive.

    Returns:
        A `Report`; ``report.ok`` is the short answer, ``str(report)`` one sentence.

    Raises:
        ValueError: an argument that is needed is missing, with its name.

    Exactness: the answer depends on no tolerance that is set by hand for this run; see `torch_bridge.judge.twins`.

    Example::

        report = torch_bridge.check(Trace.load("run.trace"), optax.sgd(0.1), loss_fn=loss_fn, data=(x, y))
    """
    if shadows == 1 or shadows < 0:
        raise ValueError(f"shadows must be 0, or at least 2 to show a spread, but got {shadows}")
    if trace.digests:
        trace = restore(trace)
    port = _Port(trace, tx, loss_fn, weights, opt_state, step, state, batches_of(data), order, progress)
    diagnosis = _Diagnosis()
    diagnosis.others += _other_batches(trace, order or ())
    if tx is not None:
        port.update(diagnosis)
    if step is not None or loss_fn is not None:
        port.free(diagnosis, shadows)
    if not diagnosis.drives:
        raise ValueError("give tx=, an optax transformation, or step=, a function that reports what it did")
    if loss_fn is not None:
        port.twins(diagnosis, programs_of_loss(loss_fn))
    elif step is not None:
        diagnosis.notes.append("A step function is asked in float64 at the first step alone: its state is its own.")
        port.twins(diagnosis, programs_of_step(step))
    else:
        diagnosis.notes.append("Loss and gradient were not asked about: there is no loss_fn=.")
    return diagnosis.report(trace.n_steps, allow_imprecise)


@dataclass
class _Diagnosis:
    """What has been found so far."""

    drives: dict[str, Comparison] = field(default_factory=dict)
    runs: dict[str, Trace] = field(default_factory=dict)
    twins: TwinFindings | None = None
    line: str = ""
    asked: tuple[int, ...] = ()
    rules: list[RuleFinding] = field(default_factory=list)
    others: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def report(self, n_steps: int, allow_imprecise: bool) -> Report:
        functions = self.twins.functions if self.twins else ()
        precisions = precisions_of(self.twins.precisions) if self.twins else ()
        difference = first_difference(functions, self.rules, self.others)
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
            n_steps=n_steps,
            asked=self.asked,
            ruled=tuple(sorted({finding.step for finding in self.rules})),
            difference=difference,
            imprecision=imprecision,
            line=self.line,
            functions=functions,
            rules=tuple(self.rules),
            precisions=precisions,
            discontinuities=sum(f.discontinuous for f in functions),
            flips=self.twins.flips if self.twins else 0,
            drives=self.drives,
            runs=self.runs,
            notes=tuple(self.notes),
            allow_imprecise=allow_imprecise,
        )


@dataclass
class _Port:
    """The JAX side, as `check` was given it."""

    trace: Trace
    tx: optax.GradientTransformation | None
    loss_fn: Callable[[Any, Any], jax.Array] | None
    weights: Weights | None
    opt_state: optax.OptState | None
    step: StepFunction | None
    state: Carry
    batch: Callable[[int, Any], Any]
    order: Sequence[Array] | None
    progress: Callable[[], None]

    def update(self, found: _Diagnosis) -> None:
        """Feed torch's gradients to the rule; where its bits are not torch's, ask in float64."""
        assert self.tx is not None
        trace, weights = self.trace, self._weights()
        side = Replay(
            trace.initial, self.tx, drive="update", weights=self.weights, opt_state=self.opt_state,
            digest_every=self._digest_every(),
        )  # fmt: skip
        judge = RuleJudge(trace, self.tx, weights)
        twins, furthest, differed = set(trace.twins), 0.0, False
        for t in range(trace.n_steps):
            recorded, before = trace.step(t), side.state
            values = side.step({}, recorded)
            off = _furthest(recorded, values)
            # Each step whose distance stands out from those that were asked about, and the steps with twins.
            if off > 0 and (not differed or t in twins or off > 4 * furthest):
                differed, furthest = True, max(furthest, off)
                self._judge_rule(found, judge, t, before[1], recorded, values)
            self.progress()
        replayed = side.trace()
        found.runs["update"], found.drives["update"] = replayed, compare(trace, replayed)
        found.others += _scalar_differences(trace, replayed)

    def _judge_rule(
        self, found: _Diagnosis, judge: RuleJudge, t: int, opt_state: Any, recorded: Step, values: Step
    ) -> None:
        rates = [key for key in values if phase_of(key) == "learning_rate"]
        same_rate = bool(rates) and all(
            key in recorded and np.isclose(values[key], recorded[key], rtol=2 * HELD, atol=0) for key in rates
        )
        try:
            found.rules += judge.judge(t, opt_state, recorded.get("metric"), rate_is_torchs=same_rate)
        except CannotWiden as error:
            note = f"The update rule could not be asked in float64: {error}."
            found.notes += [note] * (note not in found.notes)

    def free(self, found: _Diagnosis, shadows: int) -> None:
        """Run the port alone, from the first state."""
        replayed = replay(
            self.trace, self.tx, drive="free", loss_fn=self.loss_fn, data=self.batch, weights=self.weights,
            opt_state=self.opt_state, step=self.step, state=self.state, order=self.order, shadows=shadows,
            digest_every=self._digest_every(),
            progress=self.progress,
        )  # fmt: skip
        found.runs["free"] = replayed
        found.drives["free"] = compare(self.trace, replayed)
        if self.tx is None:
            found.others += _scalar_differences(self.trace, replayed)

    def twins(self, found: _Diagnosis, programs: Programs) -> None:
        """Ask about loss and gradient in float64, at the steps with twins."""
        reasons = self.trace.static.get("twins", {}).get("reasons", {})
        found.notes += [f"Step {step} has no float64 twin: {reason}" for step, reason in reasons.items()]
        steps = sorted(self.trace.twins) or list(range(min(3, self.trace.n_steps)))
        steps = steps if self.step is None else [0]
        if not self.trace.twins:
            found.notes.append(
                "The trace holds no float64 twins: torch's own values were held against the port in float64, so that "
                "what is as small as torch's rounding error cannot be seen. Record with twins."
            )
        judge = TwinJudge(programs, self._weights())

        def batch(t: int) -> Any:
            return self.batch(t, indices_of(self.trace.step(t)))

        try:
            found.twins = judge.judge(self.trace, batch, steps, self.state)
            if self.step is None and first_imprecision(precisions_of(found.twins.precisions)):
                found.line = judge.culprit(self.trace, batch(steps[0]), steps[0])
        except CannotWiden as error:
            found.notes.append(f"Loss and gradient could not be asked in float64: {error}.")
            return
        found.asked = tuple(steps)
        if found.twins.unmatched:
            found.notes.append(f"Layers that the port does not name: {', '.join(found.twins.unmatched)}.")

    def _digest_every(self) -> int | None:
        """Of a large run only digests and the last step are kept: it may well fill half of the memory already."""
        size = sum(np.asarray(rows).nbytes for rows in self.trace.steps.values())
        return self.trace.n_steps if size > LARGE else None

    def _weights(self) -> Weights:
        return self.weights or same_weights(in_phase(self.trace.initial, "parameter"))


def _other_batches(trace: Trace, order: Sequence[Array]) -> Iterator[Difference]:
    """The first step whose batch is not torch's."""
    for t, mine in enumerate(order[: trace.n_steps]):
        theirs = indices_of(trace.step(t))
        if theirs is None:
            return
        mine = np.asarray(mine)
        if not np.array_equal(theirs, mine):
            n = min(len(theirs), len(mine))
            (places,) = np.nonzero(theirs[:n] != mine[:n])
            i = int(places[0]) if places.size else n
            torch_index, jax_index = (float(row[i]) if i < len(row) else np.nan for row in (theirs, mine))
            share = 1 - np.isin(theirs, mine).mean()
            yield Difference(t, "data", "", (i,), torch_index, jax_index, float(share), 0.0)
            return


def _furthest(recorded: Step, values: Step) -> float:
    """How far a step is off, relative to the step itself; 0 if no bit differs.

    Of a large array every k-th element is looked at, and the rest only if those are equal.
    """
    off = 0.0
    for key, value in values.items():
        if phase_of(key) not in ("momentum", "parameter", "average") or key not in recorded:
            continue
        reference = recorded[key]
        stride = 1 + reference.size // SAMPLE
        some, other = (np.asarray(x).flat[::stride] for x in (reference, value))
        if not _same_bits(some, other) or (stride > 1 and not _same_bits(reference, value)):
            off = max(off, distance(some, other) / (norm(some) or 1.0), 1e-300)
    return off


def _same_bits(reference: Array, value: Array) -> bool:
    if reference.dtype != value.dtype or reference.shape != value.shape:
        return False
    bits = f"u{reference.dtype.itemsize}"
    left, right = (np.ascontiguousarray(x).view(bits) for x in (reference, value))
    return bool(np.array_equal(left, right))


def _scalar_differences(reference: Trace, candidate: Trace) -> Iterator[Difference]:
    """Numbers that both sides have at every step, such as the learning rate: equal up to the rounding of float32."""
    groups = reference.static.get("groups", ())
    recorded = {
        f"weight_decay_in_force/{i}": np.full(reference.n_steps, g["weight_decay"]) for i, g in enumerate(groups)
    }
    recorded |= {key: reference.steps[key] for key in reference.keys if phase_of(key) in (*SCALARS, "metric")}
    for key, rows in recorded.items():
        phase = phase_of(key)
        if key not in candidate.steps:
            continue
        if phase in ("momentum_in_force", "weight_decay_in_force") and f"{phase}/{len(groups) - 1}" != _last(
            candidate, phase
        ):
            continue  # as many as there are groups, or there is no telling which is whose
        theirs = np.asarray(candidate.steps[key])
        mine = np.asarray(rows, np.float64)[: len(theirs)]
        held = 2 * HELD if unit_roundoff(theirs.dtype) > unit_roundoff(np.float64) else 1e-12
        size = float(np.max(np.abs(mine[np.isfinite(mine)]), initial=0.0)) or 1.0
        gap = np.abs(theirs[: len(mine)].astype(np.float64) - mine) / size
        (steps,) = np.nonzero(~((gap <= held) | (np.isnan(mine) & np.isnan(theirs[: len(mine)]))))
        if steps.size:
            t = int(steps[0])
            constants = {_CONSTANTS[phase]: float(theirs[t] / mine[t] - 1)} if phase in _CONSTANTS and mine[t] else {}
            constants = {k: v for k, v in constants.items() if math.isfinite(v)}
            yield Difference(
                t, phase, name_of(key), (), float(mine[t]), float(theirs[t]), float(gap[t]), held, constants
            )


def _last(trace: Trace, phase: str) -> str:
    return max((key for key in trace.steps if phase_of(key) == phase), key=lambda key: int(name_of(key)), default="")
