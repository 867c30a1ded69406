"""What a digested trace left out, rebuilt from its gradients and proved by its digests."""

from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np
import optax

import funcsgd
from torch_bridge.parity.replay import replay
from torch_bridge.parity.tap import tap
from torch_bridge.parity.trace import Trace
from torch_bridge.translate.clip_grad import clipping_from_torch


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

    rules: dict[int, optax.GradientTransformationExtraArgs] = {}
    labels: dict[str, int] = {}
    for index, group in enumerate(trace.static["groups"]):
        momenta = trace.steps.get(f"momentum_in_force/{index}", np.array([group["momentum"]]))
        constant = bool((momenta == momenta[0]).all())
        momentum = float(momenta[0]) if constant else scheduled("momentum_in_force", index)
        rules[index] = optax.chain(
            optax.scale(-1.0) if group["maximize"] else optax.identity(),
            funcsgd.add_weight_decay(group["weight_decay"]),
            tap("weight_decay"),
            funcsgd.add_momentum(momentum, group["dampening"], group["nesterov"]),
            funcsgd.scale_by_learning_rate(scheduled("learning_rate", index)),
        )
        labels |= dict.fromkeys(group["names"], index)
    rule = optax.partition(rules, labels)
    if (clip := trace.static.get("clip")) is None:
        return rule
    return optax.chain(clipping_from_torch(clip["arguments"], clip["order"]), tap("clip"), rule)
