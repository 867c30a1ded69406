"""The programs that evaluate a port: its loss and gradient in float64, and beside its own precision."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax

from torch_bridge.judge.layers.watching import Watch
from torch_bridge.judge.widening import Reading, Widened, beside, widened
from torch_bridge.replaying.steps import LossFn, loss_and_rest

LossAndGradient = Callable[[Any, Any], tuple[Any, Any, Any]]
"""``(begin, batch) -> (loss, gradient, model state after the forward pass)``, each of them None where there is none;
``begin`` are the parameters, parameters and model state, or the state of a step function."""


class Programs:
    """Loss, gradient and model state of a port in float64, and beside its own precision; compiled when first called.

    Attributes:
        function: what is evaluated.
        forward: the loss alone, a function of the same arguments; what is evaluated where there is none.
        has_state: ``begin`` is a pair of parameters and model state.
    """

    def __init__(
        self, function: LossAndGradient, forward: Callable[..., Any] | None = None, has_state: bool = False
    ) -> None:
        self.function, self.forward, self.has_state = function, forward or function, has_state
        self.wide: dict[Reading, Callable[..., Widened]] = {
            reading: widened(self.function, reading=reading) for reading in ("retraced", "as traced", "as written")
        }
        self.beside = beside(self.function)
        self.same_branch = beside(self.function, share_decisions=True)


@functools.lru_cache(maxsize=16)
def programs_of_loss(loss_fn: LossFn, has_state: bool = False, watch: Watch | None = None) -> Programs:
    """Return the programs of a pure loss function; kept, since runs are often compared again.

    Args:
        loss_fn: ``loss_fn(params, batch)`` -> scalar; with a model state, ``loss_fn(params, batch, model_state)`` ->
            ``(scalar, model_state)``.
        has_state: it has a model state.
        watch: names points at the port's layers; None for a port without modules.
    """
    watched = loss_fn if watch is None else watch.traced(loss_fn)

    def stateless(params: Any, batch: Any) -> tuple[Any, Any, Any]:
        return *jax.value_and_grad(watched)(params, batch), None

    def stateful(begin: tuple[Any, Any], batch: Any) -> tuple[Any, Any, Any]:
        loss, model_state, gradient = loss_and_rest(watched, begin[0], batch, begin[1])
        return loss, gradient, model_state

    def forward(begin: tuple[Any, Any], batch: Any) -> Any:
        return watched(begin[0], batch, begin[1])[0]

    return Programs(stateful, forward, True) if has_state else Programs(stateless, watched)


@functools.lru_cache(maxsize=16)
def programs_of_step(step: Callable[[Any, Any], tuple[Any, Mapping[str, Any]]], watch: Watch | None = None) -> Programs:
    """Return the programs of a step function, which evaluate what it reports of loss, gradient and model state."""
    watched = step if watch is None else watch.traced(step)

    def reported(state: Any, batch: Any) -> tuple[Any, Any, Any]:
        _, observed = watched(state, batch)
        return observed.get("loss"), observed.get("gradient"), observed.get("buffer")

    return Programs(reported)
