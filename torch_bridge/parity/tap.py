"""A tap in an optax chain: what flows past it is kept in the state, for a replay to read."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from torch_bridge.parity.trace import PHASES


@partial(jax.tree_util.register_dataclass, data_fields=["updates"], meta_fields=["phase"])
@dataclass
class TapState:
    """State of `tap`: the updates that last flowed past it, and the phase that they belong to."""

    updates: Any
    phase: str


def tap(phase: str) -> optax.GradientTransformationExtraArgs:
    """Show the updates at this place of a chain to a replay, as one phase of the step; change nothing.

    Args:
        phase: one of `torch_bridge.parity.trace.PHASES`, such as ``"weight_decay"`` right after the decay was added.

    Returns:
        A transformation that hands its updates on; its state is one more copy of them.

    Raises:
        ValueError: there is no such phase.

    Example::

        tx = optax.chain(add_weight_decay(1e-4), tap("weight_decay"), add_momentum(0.9), scale_by_learning_rate(0.1))
    """
    if phase not in PHASES:
        raise ValueError(f"no phase {phase!r}: a step has {', '.join(PHASES)}")

    def init(params: optax.Params) -> TapState:
        return TapState(jax.tree.map(jnp.zeros_like, params), phase)

    def update(
        updates: optax.Updates, state: TapState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, TapState]:
        del state, params, extra_args
        return updates, TapState(updates, phase)

    return optax.GradientTransformationExtraArgs(init, update)
