"""Everything that can be found without running a step of the port's training."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import optax

from torch_bridge.judge.preflight.average import average_findings
from torch_bridge.judge.preflight.both_rules import Rules, rules_of
from torch_bridge.judge.preflight.clipping import clipping_findings
from torch_bridge.judge.preflight.environment import environment_findings
from torch_bridge.judge.preflight.finding import Finding, Preflight
from torch_bridge.judge.preflight.inputs import draws_of, input_findings
from torch_bridge.judge.preflight.parameters import parameter_findings
from torch_bridge.judge.preflight.rule import rule_findings
from torch_bridge.judge.preflight.side import Sides
from torch_bridge.replaying.model_state import Buffers
from torch_bridge.replaying.steps import LossFn
from torch_bridge.trace.trace import Array, Trace
from torch_bridge.weights import Weights


def preflight(
    trace: Trace,
    tx: optax.GradientTransformation | None = None,
    *,
    loss_fn: LossFn | None = None,
    data: Any = None,
    weights: Weights | None = None,
    buffers: Buffers = None,
    params: Any = None,
    order: Sequence[Array] | None = None,
    opt_state: optax.OptState | None = None,
) -> Preflight:
    """Compare a port with a recorded run before a step is run: recipe, data, parameters and environment.

    The update rules are compared by what they do to a few made-up numbers at every step of the run, so that any optax
    transformation can be read: learning rates and schedules, hyperparameters parameter by parameter, flags, clipping,
    the average. `torch_bridge.check` begins with this.

    Args:
        trace: the recorded run.
        tx: the port's rule, any optax transformation.
        loss_fn: the port's loss, ``loss_fn(params, batch)`` -> scalar; it is traced, not run.
        data: what `torch_bridge.check` takes.
        weights: the places of torch's parameters in JAX's; None keeps them in a dict by torch's names.
        buffers: how the port's model state lies to torch's buffers, see `torch_bridge.check`.
        params: the port's own first parameters; None leaves them out.
        order: the indices of each step's batch as the port draws them.
        opt_state: the state of ``tx`` that the port begins with; None takes ``tx.init``.

    Returns:
        A `Preflight`. It does not judge: a port without findings may still be another function.

    Exactness: numbers that differ by less than a relative 1e-3 are left to `torch_bridge.check`.

    Example::

        for finding in torch_bridge.preflight(trace, optax.sgd(0.1)).findings:
            print(finding.sentence, finding.remedy)
    """
    sides = Sides(trace, tx, loss_fn, data, weights, buffers, opt_state, order=order, params=params)
    findings: list[Finding] = []
    unread: list[str] = []
    families: tuple[tuple[str, Callable[[Sides], Iterable[Finding]]], ...] = (
        ("update rule", lambda sides: _rule(sides, unread)),
        ("parameters", parameter_findings),
        ("data", input_findings),
        ("environment", environment_findings),
    )
    for name, family in families:
        try:
            findings += family(sides)
        except Exception as error:  # the port's own functions run here, and may raise anything; a check goes on
            unread.append(f"The {name} could not be compared before the run: {type(error).__name__}: {error}")
    return Preflight(tuple(findings), draws_of(sides), tuple(unread))


def _rule(sides: Sides, unread: list[str]) -> Iterator[Finding]:
    rules = rules_of(sides)
    if rules is None:
        return
    unread += _left_out(rules, sides.trace.n_steps)
    found = list(rule_findings(rules))
    yield from found
    if not found:  # a gradient that is large tells nothing about clipping while small ones are treated otherwise
        yield from clipping_findings(rules)
    yield from average_findings(sides, rules)


def _left_out(rules: Rules, n_steps: int) -> Iterator[str]:
    """What of a large run was not looked at, in sentences."""
    probe = rules.probe
    if probe.n_steps < n_steps:
        yield f"The update rules were compared at the first {probe.n_steps:,} of {n_steps:,} steps before the run."
    if len(probe.leaves) < probe.n_trained:
        yield (
            f"The update rules were compared in {len(probe.leaves)} of {probe.n_trained} parameters before the run, "
            "some of each group and kind."
        )
