"""The first difference of a port alone: the step that has it, taken out of the run and evaluated again."""

import os
from typing import Any

import jax
import numpy as np

from torch_bridge.judge.bits_sentence import describe
from torch_bridge.judge.findings import FunctionFinding, PrecisionFinding
from torch_bridge.judge.numbers import scalar_differences
from torch_bridge.judge.origin import Origin
from torch_bridge.judge.programs import programs_of_loss, programs_of_step
from torch_bridge.judge.report import FACTOR, Difference, Report, precisions_of
from torch_bridge.judge.rule_findings import RuleFinding
from torch_bridge.judge.rule_precision import rule_precisions
from torch_bridge.judge.rules import RuleJudge
from torch_bridge.judge.saved_step import SavedStep, one_step, structure_of
from torch_bridge.judge.step_function import StepRuleJudge, StepStates
from torch_bridge.judge.twins import TwinJudge
from torch_bridge.replaying.batches import indices_of
from torch_bridge.replaying.layout import Layout
from torch_bridge.replaying.replay import Replay, replay
from torch_bridge.trace.keep import Keep
from torch_bridge.trace.phases import FUNCTION
from torch_bridge.trace.trace import in_phase


def saved_step(report: Report) -> SavedStep:
    """Take the step of a report's first difference, or of its imprecision, out of the run.

    Raises:
        ValueError: the report has neither, or was not made by `torch_bridge.check` in this process.
    """
    origin, first = report.origin, report.difference
    if origin is None:
        raise ValueError(
            "this report does not hold its run any more: call reproduce on what torch_bridge.check returned"
        )
    if first is None and report.imprecision is None:
        raise ValueError(f"there is no difference to show: {report}")
    if first is not None:
        step, phase, name = first.step, first.phase, first.name
    else:
        worst = report.imprecision
        assert worst is not None
        step = report.loss_steps[0] if worst.phase in FUNCTION else report.rule_steps[0]
        phase, name = f"precision/{worst.phase}", worst.name
    trace = origin.trace
    alone = one_step(trace.static, trace.before(step), trace.step(step), trace.twins.get(step, {}))
    if phase == "data":
        assert origin.order is not None  # or there would be no such difference
        return SavedStep(alone, phase, name, step, indices=np.asarray(origin.order[step]))
    needs_batch = origin.step is not None or phase.removeprefix("precision/") in FUNCTION
    structure, leaves = structure_of(origin.batch(step)) if needs_batch else (None, ())
    carried = _carried(origin, step, needs_batch)
    return SavedStep(alone, phase, name, step, carried, leaves, structure)


def _carried(origin: Origin, step: int, of_function: bool) -> tuple[Any, ...]:
    """The leaves of the port's state before a step: of its rule, driven by torch's gradients, or of a step function."""
    if origin.step is None and (of_function or origin.tx is None):
        return ()
    trace = origin.trace
    side = Replay(
        trace.initial, origin.tx, header=trace.static, drive="update" if origin.step is None else "free",
        weights=origin.given_weights, buffers=origin.buffers, opt_state=origin.opt_state, step=origin.step,
        state=origin.state,
        keep=Keep("digest", norms=False),
    )  # fmt: skip
    for t in range(step):
        side.step({}, trace.step(t), None if origin.step is None else origin.batch(t))
    state = side.state[1] if origin.step is None else side.state
    if origin.step is not None and step > 0:
        places = StepStates(origin.step, origin.state, origin.batch(0), origin.layout, trace.state)
        state = places.at(state, trace.before(step)) if places.found("parameter") else state
    return tuple(_array(leaf) for leaf in jax.tree.leaves(state))


def _array(leaf: Any) -> Any:
    try:
        return np.asarray(leaf)
    except TypeError:  # a random key
        return None


def show(
    path: str | os.PathLike[str],
    *,
    tx: Any = None,
    loss_fn: Any = None,
    weights: Any = None,
    buffers: Any = None,
    step: Any = None,
    state: Any = None,
    order: Any = None,
    batch: Any = None,
    **others: Any,
) -> int:
    """Evaluate a saved step with the port as it is now, and print torch's number, JAX's, and how far they are apart.

    Args:
        path: the file of arrays that `Report.reproduce` wrote.
        tx: the port's rule.
        loss_fn: its loss function.
        weights: the places of torch's parameters.
        state: the first state of a step function, for its structure.
        step: a step function.
        buffers: see `torch_bridge.check`; so are ``weights``, ``step``, ``state`` and ``order``.
        order: the port's order of all batches.
        batch: the step's batch, if the file could not hold it.
        others: what else a port gives; not needed.

    Returns:
        1 while the difference is there, 0 when it is gone.
    """
    del others
    saved = SavedStep.load(path)
    origin = Origin(saved.trace, tx, loss_fn, None, weights, buffers, None, step, state)
    if saved.phase == "data":
        return _show_order(saved, order)
    if saved.phase.startswith("precision/"):
        return _show_precision(saved, origin, batch)
    of_function = saved.phase in FUNCTION
    found = _of_function(saved, origin, batch) if of_function else _of_rule(saved, origin, batch)
    mine = [f for f in found if (f.phase, f.name) == (saved.phase, saved.name)]
    mine = mine or [f for f in found if f.phase == saved.phase] or found
    if not mine:
        print(f"nothing is compared in {describe(saved.phase, saved.name)}: the port does not show it")
        return 0
    f = max(mine, key=lambda f: f.distance - f.limit)
    torch, value = (f.torch, f.jax) if isinstance(f, Difference) else (f.reference, f.candidate)
    element = f"[{', '.join(map(str, f.index))}]" if f.index else ""
    print(f"{describe(f.phase, f.name, saved.trace.numbers)}{element} at step {saved.step}")
    print(f"torch  {torch:.17g}\nJAX    {value:.17g}")
    print(f"relative distance {f.distance:.2e}, of which rounding explains {f.limit:.0e}")
    return 0 if not isinstance(f, Difference) and f.same else 1


def _of_function(saved: SavedStep, origin: Origin, batch: Any) -> list[FunctionFinding | RuleFinding | Difference]:
    return [*_twins(saved, origin, batch).functions]


def _twins(saved: SavedStep, origin: Origin, batch: Any) -> Any:
    given = saved.whole_batch if batch is None else batch
    if origin.step is not None:
        judge = TwinJudge(programs_of_step(origin.step), origin.layout)
        return judge.judge(saved.trace, lambda _: given, [0], {0: _state(saved, origin.state)})
    assert origin.loss_fn is not None, "give show(loss_fn=...): the difference is in the loss function"
    programs = programs_of_loss(origin.loss_fn, origin.buffers is not None)
    return TwinJudge(programs, origin.layout).judge(saved.trace, lambda _: given, [0])


def _of_rule(saved: SavedStep, origin: Origin, batch: Any) -> list[FunctionFinding | RuleFinding | Difference]:
    trace, weights = saved.trace, origin.weights
    if origin.step is not None:
        given = saved.whole_batch if batch is None else batch
        return [*StepRuleJudge(trace, origin.step, weights).judge(0, _state(saved, origin.state), given)]
    assert origin.tx is not None, "give show(tx=...): the difference is in the update rule"
    opt_state = _rules_state(saved, origin)
    replayed = replay(trace, origin.tx, drive="update", weights=origin.given_weights, opt_state=opt_state)
    numbers = list(scalar_differences(trace, replayed))
    rules = RuleJudge(trace, origin.tx, weights).judge(
        0, opt_state, trace.step(0).get("metric"), own_state=saved.step == 0, rate_is_torchs=not numbers
    )
    return [*numbers, *rules]


def _rule_precisions(saved: SavedStep, origin: Origin) -> list[PrecisionFinding]:
    assert origin.tx is not None, "give show(tx=...): the update rule is imprecise"
    return rule_precisions(saved.trace, origin.tx, origin.weights, 0, _rules_state(saved, origin))


def _rules_state(saved: SavedStep, origin: Origin) -> Any:
    assert origin.tx is not None
    params = origin.weights.to_jax(in_phase(saved.trace.initial, "parameter"))
    layout = Layout(origin.weights, saved.trace.static)
    first = layout.first_state(origin.tx, params, saved.trace.initial)
    return first if saved.step == 0 and origin.opt_state is None else _state(saved, first)


def _state(saved: SavedStep, like: Any) -> Any:
    """The saved state in the structure of another; that one itself where the port has a state of another kind now."""
    leaves, structure = jax.tree.flatten(like)
    if len(leaves) != len(saved.carried):
        return like
    return jax.tree.unflatten(
        structure, [old if new is None else new for old, new in zip(leaves, saved.carried, strict=True)]
    )


def _show_order(saved: SavedStep, order: Any) -> int:
    torch, mine = indices_of(saved.trace.step(0)), saved.indices if order is None else np.asarray(order[saved.step])
    assert torch is not None  # both were compared
    assert mine is not None
    print(f"examples of batch {saved.step}\ntorch  {np.array2string(torch)}\nJAX    {np.array2string(mine)}")
    same = np.array_equal(torch, mine)
    print("the same" if same else "not the same")
    return 0 if same else 1


def _show_precision(saved: SavedStep, origin: Origin, batch: Any) -> int:
    phase = saved.phase.partition("/")[2]
    of_function = phase in FUNCTION
    rows = precisions_of(_twins(saved, origin, batch).precisions if of_function else _rule_precisions(saved, origin))
    row = next((row for row in rows if (row.phase, row.name) == (phase, saved.name)), None)
    if row is None:  # of a rule those are left out that are precise
        print(f"{describe(phase, saved.name)} at step {saved.step} is as precise as its type")
        return 0
    print(f"relative rounding error of {describe(phase, saved.name)} at step {saved.step}")
    print(f"torch  {row.torch:.3g}\nJAX    {row.jax:.3g}\n{row.factor:.3g} times torch's, where {FACTOR:g} is allowed")
    return 0 if row.factor <= FACTOR else 1
