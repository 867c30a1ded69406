"""Faults that ports really have, one or more for each phase, planted in the demo's JAX side to test that the checker
finds them.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import funcsgd
from funcsgd import averages
from torch_bridge.demo.port import Port
from torch_bridge.demo.recipe import (
    DECAY,
    MAX_NORM,
    MOMENTUM,
    STEPS_PER_EPOCH,
    WEIGHT_DECAY,
    averaged,
    clip,
    learning_rate,
    logits,
    loss_fn,
    named,
    order,
)
from torch_bridge.trace.trace import Array


@dataclass(frozen=True)
class Fault:
    """A fault and where it first shows.

    Attributes:
        port: the port that has it.
        phase: the first phase that shows it.
        cause: the entry of `torch_bridge.judge.causes` that it is.
        step: the first step that shows it, from 0.
        verdict: ``"different"``, or ``"imprecise"`` for a fault of precision alone.
    """

    port: Port
    phase: str
    cause: str
    step: int = 0
    verdict: str = "different"


def _shifted_epochs() -> list[Array]:
    """The batches of each epoch in another order: ``iter`` of the loader was called once before."""
    drawn = order()
    return [*drawn[STEPS_PER_EPOCH:], *drawn[:STEPS_PER_EPOCH]]


def _divided_by_255(params: Any, batch: Any) -> jax.Array:
    x, y = batch
    return loss_fn(params, (x * (16 / 255), y))


def _summed(params: Any, batch: Any) -> jax.Array:
    loss: jax.Array = loss_fn(params, batch) * batch[1].shape[0]
    return loss


def _smoothed(params: Any, batch: Any) -> jax.Array:
    x, y = batch
    targets = optax.smooth_labels(jax.nn.one_hot(y, 10), 1e-5)
    losses: jax.Array = optax.softmax_cross_entropy(logits(params, x), targets)
    return losses.mean()


def _softmax_in_float16(params: Any, batch: Any) -> jax.Array:
    x, y = batch
    log_p = jax.nn.log_softmax(logits(params, x).astype(jnp.float16)).astype(jnp.float32)
    loss: jax.Array = -jnp.take_along_axis(log_p, y[:, None], 1).mean()
    return loss


def _hidden_layer_detached(params: Any, batch: Any) -> jax.Array:
    x, y = batch
    hidden = jax.nn.relu(named(x @ params["0.weight"].T + params["0.bias"], "0"))
    z = named(jax.lax.stop_gradient(hidden) @ params["2.weight"].T + params["2.bias"], "2")
    losses: jax.Array = optax.softmax_cross_entropy_with_integer_labels(z, y)
    return losses.mean()


def _clip_without_epsilon() -> optax.GradientTransformationExtraArgs:
    """Optax divides by the norm; torch by the norm and 1e-6."""
    return averaged(
        optax.clip_by_global_norm(MAX_NORM),
        funcsgd.observe("clip"),
        funcsgd.add_weight_decay(WEIGHT_DECAY),
        funcsgd.add_momentum(MOMENTUM),
        funcsgd.scale_by_learning_rate(learning_rate),
    )


def _decay_after_momentum() -> optax.GradientTransformationExtraArgs:
    """Weight decay added to the step in place of the gradient, so that it never enters the buffer."""
    return averaged(
        clip(),
        funcsgd.add_momentum(MOMENTUM),
        funcsgd.add_weight_decay(WEIGHT_DECAY),
        funcsgd.scale_by_learning_rate(learning_rate),
    )


def _damped_first_step() -> optax.GradientTransformationExtraArgs:
    """The first gradient enters the buffer with weight ``1 - momentum``, as in a moving average."""
    return averaged(
        clip(),
        funcsgd.add_weight_decay(WEIGHT_DECAY),
        _damp_first(1 - MOMENTUM),
        funcsgd.add_momentum(MOMENTUM),
        funcsgd.scale_by_learning_rate(learning_rate),
    )


def _lr_inside_buffer() -> optax.GradientTransformationExtraArgs:
    """The learning rate multiplies the gradient before the buffer, so that old gradients keep old rates."""
    return averaged(
        clip(),
        funcsgd.add_weight_decay(WEIGHT_DECAY),
        optax.scale_by_schedule(learning_rate),
        funcsgd.add_momentum(MOMENTUM),
        optax.scale(-1.0),
    )


def _schedule_late() -> optax.GradientTransformationExtraArgs:
    """The schedule is evaluated one step too late."""
    return averaged(
        clip(),
        funcsgd.add_weight_decay(WEIGHT_DECAY),
        funcsgd.add_momentum(MOMENTUM),
        funcsgd.scale_by_learning_rate(lambda count: learning_rate(jnp.maximum(count - 1, 0))),
    )


def _nesterov() -> optax.GradientTransformationExtraArgs:
    """Nesterov's look-ahead, which the script does not have."""
    return averaged(
        clip(),
        funcsgd.add_weight_decay(WEIGHT_DECAY),
        funcsgd.add_momentum(MOMENTUM, nesterov=True),
        funcsgd.scale_by_learning_rate(learning_rate),
    )


def _average_from_start() -> optax.GradientTransformationExtraArgs:
    """The average begins at the initial parameters; torch copies those after the first update."""
    stages = (
        clip(),
        funcsgd.add_weight_decay(WEIGHT_DECAY),
        funcsgd.add_momentum(MOMENTUM),
        funcsgd.scale_by_learning_rate(learning_rate),
    )
    return averages.with_average(optax.chain(*stages), averages.ema(DECAY, lerp=True, copy_first=False))


FAULTS: dict[str, Fault] = {
    "epochs-swapped": Fault(Port(order=_shifted_epochs), "data", "batches-of-the-next-epoch"),
    "pixels-over-255": Fault(Port(loss_fn=_divided_by_255), "forward", "inputs-scaled"),
    "sum-for-mean": Fault(Port(loss_fn=_summed), "loss", "loss-summed"),
    "label-smoothing": Fault(Port(loss_fn=_smoothed), "loss", "label-smoothing"),
    "softmax-in-float16": Fault(Port(loss_fn=_softmax_in_float16), "loss", "float16-inside", verdict="imprecise"),
    "hidden-layer-detached": Fault(Port(loss_fn=_hidden_layer_detached), "gradient", "gradient-stopped"),
    "clip-without-epsilon": Fault(Port(rule=_clip_without_epsilon), "clip", "clip-without-epsilon"),
    "decay-after-momentum": Fault(Port(rule=_decay_after_momentum), "weight_decay", "decay-decoupled"),
    "damped-first-step": Fault(Port(rule=_damped_first_step), "momentum_buffer", "momentum-damped-first"),
    "lr-inside-buffer": Fault(Port(rule=_lr_inside_buffer), "momentum_buffer", "rate-inside-buffer"),
    "schedule-late": Fault(Port(rule=_schedule_late), "learning_rate", "schedule-late", STEPS_PER_EPOCH),
    "nesterov": Fault(Port(rule=_nesterov), "parameter", "nesterov-extra"),
    "average-from-start": Fault(Port(rule=_average_from_start), "average", "average-from-start"),
}
"""Each fault by its name."""


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
