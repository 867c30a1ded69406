"""A run's inputs in numbers, compared at every step: the examples of a batch, rates, factors, metrics."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from torch_bridge.judge.findings import HELD, unit_roundoff
from torch_bridge.judge.report import Difference
from torch_bridge.replaying.batches import indices_of
from torch_bridge.trace.phases import name_of, phase_of
from torch_bridge.trace.trace import Array, Trace
from torch_bridge.translate.optimizers import adapter_named


def other_batches(trace: Trace, order: Sequence[Array]) -> Iterator[Difference]:
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


def scalar_differences(reference: Trace, candidate: Trace) -> Iterator[Difference]:
    """Numbers that both sides have at every step, such as the learning rate: equal up to the rounding of float32."""
    recipe = reference.static.get("recipe")
    labels = {n.quantity: n.label for n in adapter_named(recipe["optimizer"]).numbers} if recipe else {}
    n_groups = len(recipe["groups"]) if recipe else 0
    for key in (key for key in reference.keys if phase_of(key) in (*reference.numbers, "metric")):
        phase = phase_of(key)
        if key not in candidate.steps:
            continue
        if phase not in ("learning_rate", "metric") and f"{phase}/{n_groups - 1}" != _last(candidate, phase):
            continue  # as many as there are groups, or there is no telling which is whose
        rows = reference.steps[key]
        theirs = np.asarray(candidate.steps[key])
        mine = np.asarray(rows, np.float64)[: len(theirs)]
        # What a narrower type holds, it rounds: optax.inject_hyperparams takes the type of the parameters.
        u = unit_roundoff(theirs.dtype)
        held = 2 * max(HELD, u) if u > unit_roundoff(np.float64) else 1e-12
        size = float(np.max(np.abs(mine[np.isfinite(mine)]), initial=0.0)) or 1.0
        gap = np.abs(theirs[: len(mine)].astype(np.float64) - mine) / size
        (steps,) = np.nonzero(~((gap <= held) | (np.isnan(mine) & np.isnan(theirs[: len(mine)]))))
        if steps.size:
            t = int(steps[0])
            constants = {labels[phase]: float(theirs[t] / mine[t] - 1)} if phase in labels and mine[t] else {}
            constants = {k: v for k, v in constants.items() if math.isfinite(v)}
            yield Difference(
                t, phase, name_of(key), (), float(mine[t]), float(theirs[t]), float(gap[t]), held, constants
            )


def _last(trace: Trace, phase: str) -> str:
    return max((key for key in trace.steps if phase_of(key) == phase), key=lambda key: int(name_of(key)), default="")
