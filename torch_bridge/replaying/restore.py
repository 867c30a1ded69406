"""What a digested trace left out, rebuilt from its gradients and proved by its digests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import optax

import funcsgd
from torch_bridge.replaying.replay import replay
from torch_bridge.trace.trace import Trace, phase_of
from torch_bridge.translate.clip_grad import clipping_from_torch
from torch_bridge.translate.optim import HYPERPARAMETERS


def restore(trace: Trace, tx: optax.GradientTransformation | None = None) -> Trace:
    """Rebuild the full values that a digested trace left out, from its gradients, and prove them by its digests.

    Args:
        trace: a trace with full gradients, as `record` makes it with ``digest_every``.
        tx: the rule that torch followed; None takes `recorded_rule`.

    Returns:
        The trace, with every parameter and every buffer in full.

    Raises:
        ValueError: a rebuilt value does not have the recorded digest, so this backend (see `funcsgd.exactness`) or
            this rule is not torch's; the message names the step and the quantity.
    """
    rebuilt = replay(trace, tx or recorded_rule(trace), drive="update")
    for t in range(trace.n_steps):
        for key in (key for key in trace.keys if key in trace.digests):
            if rebuilt.has(key, t) and not trace.same_bits(rebuilt, key, t):
                raise ValueError(
                    f"{key} rebuilt at step {t} has not the digest that torch's value had: the rule is not the "
                    f"recorded one, or bits cannot be promised here ({funcsgd.exactness()})"
                )
    left = [key for key in trace.digests if key not in rebuilt.steps]  # what the rule does not show stays digested
    steps = {**trace.steps, **{key: rebuilt.steps[key] for key in trace.digests if key not in left}}
    kept, digests, norms = ({key: room[key] for key in left} for room in (trace.kept, trace.digests, trace.norms))
    return replace(trace, steps=steps, kept=kept, digests=digests, norms=norms)


def recorded_rule(trace: Trace) -> optax.GradientTransformationExtraArgs:
    """Return the rule that a trace of torch.optim.SGD followed, its learning rates and momenta read from the trace."""

    def scheduled(phase: str, index: int) -> Callable[[jax.Array], jax.Array]:
        table = np.asarray(trace.steps[f"{phase}/{index}"])
        return lambda count: jax.numpy.asarray(table)[jax.numpy.minimum(count, len(table) - 1)]

    groups = []
    for index, group in enumerate(trace.static["groups"]):
        momenta = trace.steps.get(f"momentum_in_force/{index}", np.array([group["momentum"]]))
        constant = bool((momenta == momenta[0]).all())
        momentum = float(momenta[0]) if constant else scheduled("momentum_in_force", index)
        groups.append({**group, "momentum": momentum, "lr": scheduled("learning_rate", index)})
    rule = rule_of(groups, trace.static.get("clip"))
    every_step = all(
        trace.has(key, t) for key in trace.steps if phase_of(key) == "average" for t in range(trace.n_steps)
    )
    if (average := trace.static.get("average")) is None or not every_step:
        return rule
    options = {key: value for key, value in average.items() if key != "name"}
    return funcsgd.with_average(rule, getattr(funcsgd, average["name"])(**options))


def rule_of(
    groups: Sequence[Mapping[str, Any]], clip: Mapping[str, Any] | None
) -> optax.GradientTransformationExtraArgs:
    """Return torch's rule for a recipe.

    Args:
        groups: for each parameter group torch's hyperparameters (numbers, arrays, or schedules for ``lr`` and
            ``momentum``) and ``names``, the parameters in it.
        clip: None, or how gradients are clipped: ``arguments`` of torch's function and the ``order`` of the parameters.
    """
    rules: dict[int, optax.GradientTransformationExtraArgs] = {}
    labels: dict[str, int] = {}
    for index, group in enumerate(groups):
        options = {key: group[key] for key in HYPERPARAMETERS}
        rules[index] = funcsgd.sgd(options.pop("lr"), **options)
        labels |= dict.fromkeys(group["names"], index)
    rule = optax.partition(rules, labels)
    if clip is None:
        return rule
    return optax.chain(clipping_from_torch(clip["arguments"], clip["order"]), rule)
