"""The steps at which the rule of a step function is explained: torch's rule on the port's own gradients."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch_bridge.judge.causes.rule_cases import RuleCase, agreeing, tree_of
from torch_bridge.judge.step_function import StepRuleJudge, StepStates
from torch_bridge.replaying.batches import indices_of
from torch_bridge.replaying.replay import Replay
from torch_bridge.replaying.steps import Carry
from torch_bridge.trace.keep import Keep

if TYPE_CHECKING:
    from torch_bridge.judge.port import Port


def step_cases(port: "Port", steps: Sequence[int]) -> list[RuleCase]:
    """Evaluate a step function in float64 at some steps, from torch's state, and give its gradients to torch's rule.

    The port's own gradients take the place of torch's in torch's rule, rather than torch's in the port's: what differs
    then is the rule, whatever the loss is, and no place in the port's program has to be found for them.

    Args:
        port: with a step function.
        steps: where its rule is to be explained; without a place for torch's state in the port's, the first is left.

    Raises:
        CannotWiden: the step has no float64 form.
    """
    assert port.step is not None
    steps = [t for t in steps if port.rule_steps is None or t in port.rule_steps]
    trace, judge = port.trace, StepRuleJudge(port.trace, port.step, port.torch_weights())
    states, cases = _states(port, steps), []
    for t in steps:
        ways = [
            RuleCase(t, tree_of(trace, t, gradients, reference), named, reference)
            for gradients, named, reference in judge.evaluated(t, states[t], port.batch_at(t))
        ]
        if not ways:  # it reports no gradients, and torch has no twin of this step
            continue
        cases.append(max(ways, key=agreeing))
    return cases


def _states(port: "Port", steps: Sequence[int]) -> dict[int, Carry]:
    """The port's states before the steps, with torch's values in them; run again where they were not kept."""
    missing = [t for t in steps if t not in port.states]
    if not missing:
        return port.states
    side = Replay(
        port.trace.initial, None, header=port.trace.static, drive="free", weights=port.weights, buffers=port.buffers,
        step=port.step, state=port.state, keep=Keep("digest", norms=False),
    )  # fmt: skip
    assert port.step is not None
    places = StepStates(port.step, port.state, port.batch_at(0), port.layout(), port.trace.state)
    found = dict(port.states)
    for t in range(max(missing) + 1):
        recorded = port.trace.step(t)
        if t in missing:
            found[t] = places.at(side.state, port.trace.before(t)) if t else side.state
        side.step({}, recorded, port.batch(t, indices_of(recorded)))
    return found
