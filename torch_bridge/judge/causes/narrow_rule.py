"""A rule in a narrower type than torch's: in its state, or between its operations; undone while it is traced."""

import contextlib
import re
from typing import TYPE_CHECKING, Any

import jax

from torch_bridge.judge.causes.cause import Cause, Trial
from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.causes.function import NARROW
from torch_bridge.judge.findings import PrecisionFinding
from torch_bridge.judge.rule_precision import allowed, findings_of_precision, rule_arguments
from torch_bridge.judge.rules import RuleJudge, in_type_of, observed_rule
from torch_bridge.judge.widening import beside
from torch_bridge.replaying.layout import Layout
from torch_bridge.replaying.replay import Replay
from torch_bridge.trace.keep import Keep

if TYPE_CHECKING:
    from torch_bridge.judge.port import Port

STATE = Entry(
    "state-in-a-narrow-type", "precision", "The rule holds its state in a narrower type than torch does.",
    "accumulator_dtype=None, mu_dtype=None", lambda state, params: in_type_of(params, state),
)  # fmt: skip
"""``repair(state, params)`` is the state in the type of the parameters; None for one that is no narrower."""
ENTRIES = (STATE,)

_KEY = "F32_F32_F32"  # the precision under which JAX keeps these traces apart from all others
_MARKS = {"float16-inside": r"(?<!b)f16\[", "bfloat16-inside": r"bf16\["}


def narrow_rule(port: "Port", step: int) -> tuple[list[Cause], list[Trial]]:
    """Return the narrow types without which a rule is as precise as it has to be, or what is left without them.

    All are left out at once, in one trace; the causes are those that the rule has.

    Args:
        port: with a rule.
        step: one at which it is imprecise.

    Raises:
        CannotWiden: the rule has no float64 form.
    """
    assert port.tx is not None
    trace, weights = port.trace, port.torch_weights()
    layout, opt_state = Layout(weights, trace.static), _state_before(port, step)
    reference = RuleJudge(trace, port.tx, weights).reference(step, opt_state)
    rule = observed_rule(port.tx, layout.observed)

    def errors(state: Any) -> list[PrecisionFinding]:
        both = beside(rule)(*rule_arguments(trace, layout, step, state))
        return findings_of_precision(trace, step, weights, reference, both.narrow, both.wide)

    before = max(finding.jax for finding in errors(opt_state))
    params = rule_arguments(trace, layout, step, opt_state)[2]
    wide = STATE.repair(opt_state, params)
    source = str(jax.make_jaxpr(rule)(*rule_arguments(trace, layout, step, opt_state)))
    found = [STATE] if wide is not None else [e for e in NARROW if re.search(_MARKS.get(e.name, "$^"), source)]
    with contextlib.ExitStack() as stack:
        for entry in NARROW:
            stack.enter_context(entry.repair())
        stack.enter_context(jax.default_matmul_precision(_KEY))
        after = errors(opt_state if wide is None else wide)
    share = max(finding.jax / allowed(finding) for finding in after)
    if share > 1:
        return [], [Trial(entry.name, max(finding.jax for finding in after)) for entry in found or (STATE, *NARROW)]
    causes = []
    for entry in found:
        sentence, fix = entry.worded(None, None)
        causes.append(Cause(entry.name, entry.family, sentence, fix, {}, (step,), before, share, len(after)))
    return causes, []


def _state_before(port: "Port", step: int) -> Any:
    """The state of a rule that was given torch's gradients up to a step."""
    side = Replay(
        port.trace.initial, port.tx, header=port.trace.static, drive="update", weights=port.weights,
        opt_state=port.opt_state, keep=Keep("digest", norms=False),
    )  # fmt: skip
    for t in range(step):
        side.step({}, port.trace.step(t))
    return side.state[1]
