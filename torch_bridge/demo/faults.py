"""Faults that ports of SGD really have, planted in the demo's JAX side to see the checker find them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import funcsgd
from torch_bridge.demo.recipe import MOMENTUM, WEIGHT_DECAY, learning_rate
from torch_bridge.parity.tap import tap


def decay_after_momentum() -> optax.GradientTransformationExtraArgs:
    """Weight decay added to the step in place of the gradient, so that it never enters the buffer."""
    return optax.chain(
        tap("weight_decay"),
        funcsgd.add_momentum(MOMENTUM),
        funcsgd.add_weight_decay(WEIGHT_DECAY),
        funcsgd.scale_by_learning_rate(learning_rate),
    )


def damped_first_step() -> optax.GradientTransformationExtraArgs:
    """The first gradient enters the buffer with weight ``1 - momentum``, as in a moving average."""
    return optax.chain(
        funcsgd.add_weight_decay(WEIGHT_DECAY),
        tap("weight_decay"),
        _damp_first(1 - MOMENTUM),
        funcsgd.add_momentum(MOMENTUM),
        funcsgd.scale_by_learning_rate(learning_rate),
    )


def lr_inside_buffer() -> optax.GradientTransformationExtraArgs:
    """The learning rate multiplies the gradient before the buffer, so that old gradients keep old rates."""
    return optax.chain(
        funcsgd.add_weight_decay(WEIGHT_DECAY),
        tap("weight_decay"),
        optax.scale_by_schedule(learning_rate),
        funcsgd.add_momentum(MOMENTUM),
        optax.scale(-1.0),
    )


def schedule_late() -> optax.GradientTransformationExtraArgs:
    """The schedule is asked one step too late."""
    return optax.chain(
        funcsgd.add_weight_decay(WEIGHT_DECAY),
        tap("weight_decay"),
        funcsgd.add_momentum(MOMENTUM),
        funcsgd.scale_by_learning_rate(lambda count: learning_rate(jnp.maximum(count - 1, 0))),
    )


FAULTS: dict[str, Callable[[], optax.GradientTransformationExtraArgs]] = {
    "decay-after-momentum": decay_after_momentum,
    "damped-first-step": damped_first_step,
    "lr-inside-buffer": lr_inside_buffer,
    "schedule-late": schedule_late,
}
"""Each fault's name and the rule that has it."""


class _DampFirstState(NamedTuple):
    is_first: jax.Array


def _damp_first(factor: float) -> optax.GradientTransformationExtraArgs:
    def init(params: optax.Params) -> _DampFirstState:
        del params
        return _DampFirstState(jnp.array(True))

    def update(
        updates: optax.Updates, state: _DampFirstState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, _DampFirstState]:
        del params, extra_args
        damped = jax.tree.map(lambda g: jnp.where(state.is_first, factor * g, g), updates)
        return damped, _DampFirstState(jnp.array(False))

    return optax.GradientTransformationExtraArgs(init, update)
