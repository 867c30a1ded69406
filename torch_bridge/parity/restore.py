"""What a digested trace left out, rebuilt from its gradients and proved by its digests."""

from collections.abc import Callable

import jax
import numpy as np
import optax

import funcsgd
from torch_bridge.parity.replay import replay
from torch_bridge.parity.trace import Trace


def restore(trace: Trace, tx: optax.GradientTransformation | None = None) -> Trace:
    """Rebuild the full values that a digested trace left out, from its gradients, and prove them by its digests.

    Args:
        trace: a trace with full gradients, as `record` makes it with ``digest_every``.
        tx: the rule that torch followed; None takes `funcsgd.sgd` with the hyperparameters and the learning rates that
            the trace recorded.

    Returns:
        The trace, with every parameter and every buffer in full.

    Raises:
        ValueError: a rebuilt value does not have the recorded digest, so this backend (see `funcsgd.exactness`) or
            this rule is not torch's; the message names the step and the quantity.
    """
    rebuilt = replay(trace, tx or recorded_rule(trace), drive="update")
    for t in range(trace.n_steps):
        for key in trace.digests:
            if rebuilt.has(key, t) and not trace.same_bits(rebuilt, key, t):
                raise ValueError(
                    f"{key} rebuilt at step {t} has not the digest that torch's value had: the rule is not the "
                    f"recorded one, or bits cannot be promised here ({funcsgd.exactness()})"
                )
    steps = {key: rebuilt.steps.get(key, rows) if key in trace.digests else rows for key, rows in trace.steps.items()}
    return Trace(trace.static, trace.initial, steps, present=trace.present, extra=trace.extra)


def recorded_rule(trace: Trace) -> optax.GradientTransformationExtraArgs:
    """Return the rule that a trace of torch.optim.SGD followed, its learning rates read from the trace."""

    def schedule(index: int) -> Callable[[jax.Array], jax.Array]:
        table = np.asarray(trace.steps[f"learning_rate/{index}"])
        return lambda count: jax.numpy.asarray(table)[jax.numpy.minimum(count, len(table) - 1)]

    groups = []
    for index, group in enumerate(trace.static["groups"]):
        members = [(name, trace.initial[f"parameter/{name}"]) for name in group["names"]]
        options = {key: value for key, value in group.items() if key not in ("names", "lr")}
        groups.append({"params": members, "lr": schedule(index), **options})
    return funcsgd.sgd_from_groups(groups).tx
