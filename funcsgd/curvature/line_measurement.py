"""The transformation behind `scale_by_quadratic_linesearch` and `observe_quadratic_step`: when and what to measure."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from funcsgd.curvature.derivatives import directional_curvature
from funcsgd.curvature.quadratic_step import (
    Curvature,
    Line,
    QuadraticStepInfo,
    decrease,
    line_along,
    no_info,
    step_dtype,
)
from funcsgd.hyperparameters import check_scalar
from funcsgd.per_leaf import check_trainable, incremented, present


class QuadraticStepState(NamedTuple):
    """State of `scale_by_quadratic_linesearch` and `observe_quadratic_step`.

    Attributes:
        count: int32 scalar, the number of updates made.
        value: floating scalar, the value at the last update; NaN before the first.
        step: floating scalar, the last multiple of ``d`` that was found; the learning rate before the first.
        info: a `QuadraticStepInfo`, of the last update.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name, in place of tuple.count
    value: jax.Array
    step: jax.Array
    info: QuadraticStepInfo


def measuring_rule(
    name: str,
    first_step: Callable[[jax.Array], jax.Array],
    describe: Callable[[Line, jax.Array], QuadraticStepInfo],
    step_along: Callable[[optax.Updates, QuadraticStepInfo], optax.Updates],
    uphill: bool,
    every: ArrayLike,
    curvature: Curvature | None,
    has_aux: bool,
) -> optax.GradientTransformationExtraArgs:
    """Measure along the updates when it is time, describe what was found, and make a step of it.

    Args:
        name: of the public function, for errors.
        first_step: the step before the first measurement, from the update count.
        describe: makes the info of a line and the update count.
        step_along: makes the updates of the incoming ones and the info.
        uphill: what comes in is minus the direction.
        every: measure at the first update and each ``every``-th after it.
        curvature: None is `directional_curvature`.
        has_aux: ``value_fn`` returns ``(value, aux)``.
    """
    check_scalar("every", every)
    if not isinstance(every, jax.core.Tracer) and np.any(np.asarray(every) < 1):
        raise ValueError(f"every must be at least 1, but is {every}")
    always = isinstance(every, int) and every == 1
    curvature = directional_curvature if curvature is None else curvature

    def init(params: optax.Params) -> QuadraticStepState:
        check_trainable(params)
        dtype = step_dtype(params)
        count, value = jnp.zeros((), jnp.int32), jnp.full((), jnp.nan, dtype)
        return QuadraticStepState(count, value, jnp.array(first_step(count), dtype).reshape(()), no_info(dtype))

    def update(
        updates: optax.Updates,
        state: QuadraticStepState,
        params: optax.Params | None = None,
        *,
        value: ArrayLike | None = None,
        grad: optax.Updates | None = None,
        value_fn: Callable[..., Any] | None = None,
        curvature_fn: Callable[..., Any] | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, QuadraticStepState]:
        if params is None or value is None or grad is None or value_fn is None:
            given = {"params": params, "value": value, "grad": grad, "value_fn": value_fn}
            raise ValueError(
                f"{name} needs {', '.join(k for k, v in given.items() if v is None)}: call tx.update(grads, state, "
                "params, value=loss, grad=grads, value_fn=loss_fn), where loss_fn(params) is the loss of the batch"
            )
        updates, grad = present(updates), present(grad)
        _check_whole(name, params)
        measured_fn = _bound(value_fn if curvature_fn is None else curvature_fn, extra_args)
        measured_fn = _value_of(name, measured_fn, has_aux)

        def measure() -> QuadraticStepInfo:
            line = line_along(curvature, measured_fn, params, grad, updates)
            info = describe(line._replace(slope=-line.slope) if uphill else line, state.count)
            return QuadraticStepInfo(*[jnp.asarray(x, y.dtype) for x, y in zip(info, state.info, strict=True)])

        def reuse() -> QuadraticStepInfo:
            no = jnp.zeros((), bool)
            return state.info._replace(step_taken=state.step, nonfinite=no, measured=no)

        # By the count alone: under vmap the lanes agree about it, and the branch stays a branch.
        due = state.count % jnp.asarray(every).reshape(()) == 0
        if always or not isinstance(due, jax.core.Tracer):  # called eagerly, a branch would be compiled in every call
            info = measure() if always or due else reuse()
        else:
            info = jax.lax.cond(due, measure, reuse)
        now = jnp.asarray(value, state.value.dtype).reshape(())
        info = info._replace(realised_decrease=state.value - now, nonfinite=info.nonfinite | ~jnp.isfinite(now))
        step = jnp.where(info.nonfinite, state.step, info.step_taken)
        return step_along(updates, info), QuadraticStepState(incremented(state.count), now, step, info)

    return optax.GradientTransformationExtraArgs(init, update)


def described(line: Line, best: jax.Array, step: jax.Array, learning_rate: jax.Array) -> QuadraticStepInfo:
    """Return the info of a line, of its optimal step and of the step that is taken."""
    return QuadraticStepInfo(
        step_size=best,
        slope=line.slope,
        curvature=line.curvature,
        step_taken=step,
        predicted_decrease=decrease(line, step),
        realised_decrease=jnp.full_like(step, jnp.nan),  # known at the next update
        relative_step=best / learning_rate,
        normalised_step=jnp.where(best == 0, jnp.nan, step / jnp.where(best == 0, 1, best) - 1),
        nonpositive_curvature=line.curvature <= 0,
        ascent=line.slope >= 0,
        zero_direction=line.squared_length == 0,
        nonfinite=~(jnp.isfinite(line.slope) & jnp.isfinite(line.curvature)),
        measured=jnp.ones((), bool),
    )


def _check_whole(name: str, params: Any) -> None:
    leaves = jax.tree.leaves(params, is_leaf=lambda node: isinstance(node, optax.MaskedNode))
    if any(isinstance(leaf, optax.MaskedNode) for leaf in leaves):
        raise ValueError(
            f"{name} receives a part of the parameters only, and value_fn takes all of them: put it behind the "
            f"optax.partition or optax.masked, as in optax.chain(optax.partition(...), {name}(...))"
        )


def _value_of(name: str, function: Callable[..., Any], has_aux: bool) -> Callable[..., Any]:
    """The function without its other output."""

    def value(params: Any) -> Any:
        out = function(params)
        if isinstance(out, tuple) != has_aux or (has_aux and len(out) != 2):
            raise TypeError(
                f"with has_aux={has_aux} value_fn must return {'(value, aux)' if has_aux else 'a scalar'}, but returns "
                f"{jax.tree.map(jnp.shape, out)}: use {name}(..., has_aux={not has_aux})"
            )
        return out[0] if has_aux else out

    return value


def _bound(function: Callable[..., Any], extra_args: Mapping[str, Any]) -> Callable[..., Any]:
    """Give a function the extra arguments that it names, as optax's line searches do."""
    names = inspect.signature(function).parameters
    return functools.partial(function, **{name: x for name, x in extra_args.items() if name in names})
