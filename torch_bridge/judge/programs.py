"""The programs that evaluate a port: its loss and gradient in float64, and beside its own precision."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax

from torch_bridge.judge.layers.watching import Watch
from torch_bridge.judge.widening import Reading, Widened, beside, widened

LossFunction = Callable[[Any, Any], jax.Array]
LossAndGradient = Callable[[Any, Any], tuple[Any, Any]]


class Programs:
    """Loss and gradient of a port in float64, and beside its own precision; compiled when they are first called."""

    def __init__(self, function: LossAndGradient) -> None:
        self.function = function
        self.wide: dict[Reading, Callable[..., Widened]] = {
            reading: widened(self.function, reading=reading) for reading in ("retraced", "as traced", "as written")
        }
        self.beside = beside(self.function)
        self.same_branch = beside(self.function, share_decisions=True)


@functools.lru_cache(maxsize=16)
def programs_of_loss(loss_fn: LossFunction, watch: Watch | None = None) -> Programs:
    """Return the programs of a pure loss function; kept, since runs are often compared again.

    Args:
        loss_fn: ``loss_fn(params, batch)`` -> scalar.
        watch: names points at the port's layers; None for a port without modules.
    """
    return Programs(jax.value_and_grad(loss_fn if watch is None else watch.traced(loss_fn)))


@functools.lru_cache(maxsize=16)
def programs_of_step(step: Callable[[Any, Any], tuple[Any, Mapping[str, Any]]], watch: Watch | None = None) -> Programs:
    """Return the programs of a step function, which evaluate the loss and the gradient that it reports."""
    watched = step if watch is None else watch.traced(step)

    def reported(state: Any, batch: Any) -> tuple[Any, Any]:
        _, observed = watched(state, batch)
        return observed.get("loss"), observed.get("gradient")

    return Programs(reported)
