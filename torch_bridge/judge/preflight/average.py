"""The moving average of the parameters: torch's beside the one that the port's rule keeps."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optax

from funcsgd.averages import AverageState, averaged_params, with_average
from torch_bridge.judge.preflight.both_rules import COARSE, Rules
from torch_bridge.judge.preflight.finding import Finding, number
from torch_bridge.judge.preflight.side import Sides
from torch_bridge.trace.trace import Array
from torch_bridge.translate.build import build_average
from torch_bridge.translate.recipe import AverageCall
from torch_bridge.translate.states import nodes_of

STEPS = 8
"""The number of steps that an average follows."""


def average_findings(sides: Sides, rules: Rules) -> Iterator[Finding]:
    """Name the average that only one of the sides has, or in what torch's and the port's differ."""
    average, tx = rules.recipe.average, sides.tx
    if average is not None and not isinstance(average, AverageCall):
        return
    assert tx is not None  # there are rules
    params = rules.probe.small(sides.start, rules.probe.params.astype(np.float32))
    has = bool(nodes_of(jax.eval_shape(tx.init, params), AverageState))
    torchs = (
        "none" if average is None else f"{average.name}({', '.join(f'{k}={v}' for k, v in average.options.items())})"
    )
    if has != (average is not None):
        yield Finding(
            "average",
            f"torch keeps {'no average' if average is None else f'the average {torchs}'} of its parameters, and the "
            f"port's rule {'keeps one' if has else 'keeps none'}.",
            "Take the average out of the port's rule, or out of the comparison."
            if has
            else "Wrap the rule in `funcsgd.averages.with_average`, so that the average is compared.",
            torchs,
            "an average" if has else "none",
        )
        return
    if average is None:
        return
    port = _followed(tx, sides, rules)
    # The port's own steps, followed by torch's average.
    torch = _averages(build_average(average), rules.probe.params.astype(np.float32), rules.jax[:STEPS])
    apart = np.abs(torch - port).reshape(len(port), -1).max(1) / np.abs(port).max()
    moved = np.abs(rules.jax[:STEPS]).max() / np.abs(port).max()
    off = np.flatnonzero(apart > max(COARSE * moved, 4e-7))
    if off.size:
        first = int(off[0])
        yield Finding(
            "average",
            f"torch's average {torchs} of the port's own parameters would be another from update {first} (from 0) on.",
            f"Give the port's rule torch's average, funcsgd.averages.{torchs}, and let it begin with the same update.",
            torchs,
            f"{number(float(apart[first]))} away at update {first}",
        )


def _followed(tx: optax.GradientTransformation, sides: Sides, rules: Rules) -> Array:
    """The averages that the port's rule keeps after each of the first steps, ``(steps, leaves, SIZE)``."""
    rule, probe = optax.with_extra_args_support(tx), rules.probe
    params: Any = probe.small(sides.start, probe.params.astype(np.float32))
    structure = jax.tree.structure(sides.start)
    state, rows = rule.init(params), []
    extra = {"value": np.float32(0)} if "metric" in sides.trace.keys else {}
    for t in range(min(STEPS, probe.n_steps)):
        gradient = probe.small(sides.start, probe.gradients[t % len(probe.gradients)].astype(np.float32))
        updates, state = rule.update(gradient, state, params, **extra)
        rows.append(np.asarray(probe.rows(averaged_params(state, optax.apply_updates(params, updates)), structure)))
    return np.stack(rows)


def _averages(average: Any, params: Array, changes: Array) -> Array:
    rule = with_average(optax.identity(), average)
    state, rows = rule.init(params), []
    for change in changes:
        _, state = rule.update(change.astype(np.float32), state, params)
        rows.append(np.asarray(averaged_params(state, params + change.astype(np.float32))))
    return np.stack(rows)
