"""The tensors that a digested trace left out, rebuilt from its gradients and proved by its digests."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import optax

import funcsgd
from funcsgd.averages import with_average
from torch_bridge.replaying.replay import replay
from torch_bridge.trace.phases import phase_of
from torch_bridge.trace.trace import Rows, Trace
from torch_bridge.translate.build import build_average, build_clip, build_rule
from torch_bridge.translate.optimizers import Number, adapter_named
from torch_bridge.translate.recipe import AverageCall, Clip
from torch_bridge.translate.recipe_data import recorded_recipe


def restore(trace: Trace, tx: optax.GradientTransformation | None = None) -> Trace:
    """Rebuild the full values that a digested trace left out, from its gradients, and prove them by its digests.

    Args:
        trace: a trace with full gradients, as `record` makes it with ``keep=Keep("digest")``.
        tx: the rule that torch followed; None takes `recorded_rule`.

    Returns:
        The trace, with every parameter and every tensor of the optimizer's state in full.

    Raises:
        ValueError: gradients were not kept; or a rebuilt value does not have the recorded digest, so this backend (see
            `funcsgd.exactness`) or this rule is not torch's; the message names the step and the quantity.
    """
    for key in trace.digests:
        if phase_of(key) == "gradient" and len(trace.kept[key]) < trace.n_steps:
            raise ValueError(
                f"the trace holds only digests of {key} at some steps, and without gradients nothing can be rebuilt: "
                "record with keep=Keep('digest'), or Keep('full')"
            )
    rebuilt = replay(trace, tx or recorded_rule(trace), drive="update")
    for t in range(trace.n_steps):
        for key in (key for key in trace.keys if key in trace.digests):
            if rebuilt.has(key, t) and not trace.same_bits(rebuilt, key, t):
                raise ValueError(
                    f"{key} rebuilt at step {t} does not match the recorded digest: the rule is not the recorded one, "
                    f"or bits cannot be promised here ({funcsgd.exactness()})"
                )
    left = [key for key in trace.digests if key not in rebuilt.steps]  # what the rule does not show stays digested
    steps = {**trace.steps, **{key: rebuilt.steps[key] for key in trace.digests if key not in left}}
    kept, digests = {key: trace.kept[key] for key in left}, {key: trace.digests[key] for key in left}
    norms = {key: trace.norms[key] for key in left if key in trace.norms}
    return replace(trace, steps=steps, kept=kept, digests=digests, norms=norms)


def recorded_rule(trace: Trace) -> optax.GradientTransformationExtraArgs:
    """Return the rule that a recorded run followed, its numbers read from the trace, step by step.

    Raises:
        TypeError: its optimizer has no rule here.
        ValueError: the trace holds no recipe, a number that the rule takes as it is changed in the run, or the run's
            square root cannot be had here.
    """
    recipe = recorded_recipe(trace.static)
    overrides = [_numbers(trace, recipe.optimizer, index) for index in range(len(recipe.groups))]
    rule = build_rule(recipe, overrides)
    if isinstance(recipe.clip, Clip):
        rule = optax.chain(build_clip(recipe.clip), rule)
    every_step = all(
        trace.has(key, t) for key in trace.steps if phase_of(key) == "average" for t in range(trace.n_steps)
    )
    if isinstance(recipe.average, AverageCall) and every_step:
        return with_average(rule, build_average(recipe.average))
    return rule


def _numbers(trace: Trace, optimizer: str, index: int) -> dict[Number, Any]:
    """A group's numbers at each step: a schedule for each that changed."""
    found: dict[Number, Any] = {}
    for number in adapter_named(optimizer).numbers:
        values = trace.steps.get(f"{number.quantity}/{index}")
        if values is None:
            continue
        constant = bool((values == values[0]).all())
        if not constant and not number.scheduled:
            step = int(np.flatnonzero(values != values[0])[0])
            raise ValueError(
                f"{number.label} of group {index} is {float(values[step])} from step {step} on, where it was "
                f"{float(values[0])}, and the rule takes one value for a run: record that part as a run of its own"
            )
        found[number] = float(values[0]) if constant else _read(values)
    return found


def _read(table: Rows) -> Callable[[jax.Array], jax.Array]:
    table = np.asarray(table)
    return lambda count: jax.numpy.asarray(table)[jax.numpy.minimum(count, len(table) - 1)]
