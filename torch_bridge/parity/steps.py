"""One training step on the JAX side, as a function that reports what it did."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import optax

import funcsgd
from funcsgd import AverageState, ScaleBySchedulersState
from torch_bridge.parity.tap import TapState
from torch_bridge.translate.states import merge, momentum_buffers, nodes_of

Carry: TypeAlias = Any
StepFunction: TypeAlias = Callable[[Carry, Any], tuple[Carry, Mapping[str, Any]]]
"""``(state, batch) -> (state, observed)``; ``observed`` maps phases to a pytree of parameters' shape, or a scalar."""


@functools.lru_cache(maxsize=16)
def compiled_step(tx: optax.GradientTransformation, loss_fn: Callable[[Any, Any], jax.Array] | None) -> StepFunction:
    """Return `optax_step` compiled, the same program for the same rule and loss function: runs are often compared
    again.
    """
    step: StepFunction = jax.jit(optax_step(tx, loss_fn))
    return step


def optax_step(tx: optax.GradientTransformation, loss_fn: Callable[[Any, Any], jax.Array] | None) -> StepFunction:
    """Return the step ``((params, opt_state), (batch, metric)) -> ((params, opt_state), observed)`` of an optax rule.

    Args:
        tx: the rule. What it is given as ``value`` is the metric, for rules that watch one, such as
            scale_by_schedulers; or the loss, where there is no metric.
        loss_fn: ``loss_fn(params, batch)``, a scalar; None for a step that is given gradients in place of batches.
    """
    rule = optax.with_extra_args_support(tx)

    def step(carry: Carry, given: Any) -> tuple[Carry, Mapping[str, Any]]:
        (params, opt_state), (batch, metric) = carry, given
        observed: dict[str, Any] = {}
        if loss_fn is None:
            gradient = batch
        else:
            observed["loss"], gradient = jax.value_and_grad(loss_fn)(params, batch)
        value = observed.get("loss") if metric is None else metric
        extra = {} if value is None else {"value": value}
        observed["gradient"] = gradient
        rates = _learning_rates(opt_state)
        updates, opt_state = rule.update(gradient, opt_state, params, **extra)
        # A scheduler that waits for a metric learns its rate in the update, and so does optax.inject_hyperparams its
        # schedule's.
        waiting = any(node.plateaus for node in nodes_of(opt_state, ScaleBySchedulersState))
        if waiting or nodes_of(opt_state, optax.InjectStatefulHyperparamsState):
            rates = _learning_rates(opt_state)
        if rates:
            observed["learning_rate"] = rates
        params = optax.apply_updates(params, updates)
        taps = nodes_of(opt_state, TapState)
        for phase in {node.phase for node in taps}:
            observed[phase] = merge(params, [node.updates for node in taps if node.phase == phase])
        if (momentum := momentum_buffers(opt_state, params)) is not None:
            observed["momentum"], observed["started"] = momentum
        observed["parameter"] = params
        if nodes_of(opt_state, AverageState):
            observed["average"] = funcsgd.averaged_params(opt_state, params)
        return (params, opt_state), observed

    return step


def _learning_rates(opt_state: optax.OptState) -> list[jax.Array]:
    try:
        rates = funcsgd.get_learning_rate(opt_state)
    except ValueError:  # not every rule tells
        return []
    return rates if isinstance(rates, list) else [rates]
