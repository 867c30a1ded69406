"""One training step on the JAX side, as a function that reports what it did."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import optax

import funcsgd
from funcsgd import observing
from funcsgd.averages import AverageState, averaged_params
from funcsgd.stages import ScaleBySchedulersState
from torch_bridge.replaying.distinct import compiled
from torch_bridge.trace.phases import phases_of
from torch_bridge.translate.optimizers import Adapter, adapter_named
from torch_bridge.translate.states import hyperparameters, merge, nodes_of, torch_state

Carry: TypeAlias = Any
StepFunction: TypeAlias = Callable[[Carry, Any], tuple[Carry, Mapping[str, Any]]]
"""``(state, batch) -> (state, observed)``; ``observed`` maps phases to a pytree of parameters' shape, or a scalar."""


@dataclass(frozen=True)
class Observed:
    """The quantities that a step reports.

    Attributes:
        phases: of the run, in causal order, see `Trace.phases`.
        torch_class: of torch's optimizer.
        state: the keys of its state.
    """

    phases: tuple[str, ...]
    torch_class: str = ""
    state: tuple[str, ...] = ()

    @property
    def adapter(self) -> Adapter:
        """The optimizer's adapter."""
        return adapter_named(self.torch_class, self.state)


def observed_of(header: Mapping[str, Any]) -> Observed:
    """Return what is observed in a port of the run with this header, ``trace.static``."""
    return Observed(phases_of(header), header.get("recipe", {}).get("optimizer", ""), tuple(header.get("state", ())))


LossFn: TypeAlias = Callable[..., Any]
"""``loss_fn(params, batch)`` -> scalar; or ``loss_fn(params, batch, model_state) -> (scalar, model_state)``."""


@functools.lru_cache(maxsize=16)
def compiled_step(
    tx: optax.GradientTransformation, loss_fn: LossFn | None, observed: Observed, has_state: bool = False
) -> StepFunction:
    """Return `optax_step` compiled, the same program for the same arguments: runs are often compared again."""
    return compiled(optax_step(tx, loss_fn, observed, has_state))


def optax_step(
    tx: optax.GradientTransformation, loss_fn: LossFn | None, observed_of: Observed, has_state: bool = False
) -> StepFunction:
    """Return the step ``((params, opt_state), (batch, metric)) -> ((params, opt_state), observed)`` of an optax rule.

    Args:
        tx: the rule. What it is given as ``value`` is the metric, for rules that watch one, such as
            scale_by_schedulers; or the loss, where there is no metric.
        loss_fn: ``loss_fn(params, batch)``, a scalar; None for a step that is given gradients in place of batches.
        observed_of: what is observed in the rule and its state.
        has_state: the loss takes and returns a model state, which is the third in the step's own state.
    """
    adapter = observed_of.adapter
    rule = optax.with_extra_args_support(tx)

    def step(carry: Carry, given: Any) -> tuple[Carry, Mapping[str, Any]]:
        (params, opt_state, *model_state), (batch, metric) = carry, given
        observed: dict[str, Any] = {}
        if loss_fn is None:
            gradient = batch
        elif has_state:
            observed["loss"], model_state[0], gradient = loss_and_rest(loss_fn, params, batch, *model_state)
            observed["buffer"] = model_state[0]
        else:
            observed["loss"], gradient = jax.value_and_grad(loss_fn)(params, batch)
        value = observed.get("loss") if metric is None else metric
        extra = {} if value is None else {"value": value}
        observed["gradient"] = gradient
        rates = _learning_rates(opt_state)
        with observing() as seen:
            updates, opt_state = rule.update(gradient, opt_state, params, **extra)
        # A scheduler that waits for a metric learns its rate in the update, and so does optax.inject_hyperparams its
        # schedule's.
        waiting = any(node.plateaus for node in nodes_of(opt_state, ScaleBySchedulersState))
        if waiting or nodes_of(opt_state, optax.InjectStatefulHyperparamsState):
            rates = _learning_rates(opt_state)
        if rates:
            observed["learning_rate"] = rates
        params = optax.apply_updates(params, updates)
        observed |= shown(seen, params, observed_of.phases)
        observed |= torch_state(opt_state, params, adapter) | hyperparameters(opt_state, adapter)
        observed["parameter"] = params
        if nodes_of(opt_state, AverageState):
            observed["average"] = averaged_params(opt_state, params)
        return (params, opt_state, *model_state), observed

    return step


def loss_and_rest(loss_fn: LossFn, params: Any, batch: Any, model_state: Any) -> tuple[jax.Array, Any, Any]:
    """Return loss, new model state and gradient of a loss function that has a model state.

    Raises:
        ValueError: it does not return the loss and a model state like the one it was given.
    """

    def pair(params: Any) -> tuple[jax.Array, Any]:
        # A variable of flax nnx can be set only in the transformation in which it was made.
        result = loss_fn(params, batch, jax.tree.map(lambda x: x, model_state))
        if not isinstance(result, tuple) or len(result) != 2:
            raise ValueError(
                "with buffers=, loss_fn(params, batch, model_state) returns (loss, model_state), but it returned a "
                f"{type(result).__name__}"
            )
        given, returned = (str(jax.tree.structure(each)) for each in (model_state, result[1]))
        if given != returned:
            raise ValueError(f"loss_fn must return a model_state like the one it got, {given}, but returned {returned}")
        return result

    (loss, after), gradient = jax.value_and_grad(pair, has_aux=True)(params)
    return loss, after, gradient


def shown(seen: Mapping[str, list[Any]], params: Any, phases: Sequence[str]) -> dict[str, Any]:
    """Return what a rule showed, see `funcsgd.observing`, as trees of the parameters' structure.

    Raises:
        ValueError: a name is no phase of a step.
    """
    for name in seen:
        if name not in phases:
            raise ValueError(f"the rule shows {name!r}, which is no phase of a step: there are {', '.join(phases)}")
    return {name: merge(params, trees) for name, trees in seen.items()}


def _learning_rates(opt_state: optax.OptState) -> list[jax.Array]:
    try:
        rates = funcsgd.get_learning_rate(opt_state)
    except ValueError:  # not every rule has one
        return []
    return rates if isinstance(rates, list) else [rates]
