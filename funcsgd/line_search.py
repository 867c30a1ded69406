"""The step to the minimum of the quadratic approximation along a direction, taken or only observed."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from funcsgd.curvature import directional_curvature
from funcsgd.hyperparameters import Hyperparameter, check_nonnegative, check_scalar, value_at
from funcsgd.per_leaf import check_trainable, incremented, per_leaf, present
from funcsgd.quadratic_step import (
    Curvature,
    Line,
    QuadraticStepInfo,
    decrease,
    line_along,
    no_info,
    optimal_step,
    step_dtype,
)


class QuadraticStepState(NamedTuple):
    """State of `scale_by_quadratic_linesearch` and `observe_quadratic_step`.

    Attributes:
        count: int32 scalar, the number of updates made.
        value: floating scalar, the value at the last update; NaN before the first.
        step: floating scalar, the last multiple of ``d`` that was found; the learning rate before the first.
        info: a `QuadraticStepInfo`, of the last update.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name; it hides tuple.count, which nobody needs here
    value: jax.Array
    step: jax.Array
    info: QuadraticStepInfo


def scale_by_quadratic_linesearch(
    learning_rate: Hyperparameter = 1e-3,
    *,
    relaxation: Hyperparameter = 1.0,
    damping: Hyperparameter = 0.0,
    max_step: Hyperparameter | None = None,
    uphill: bool = False,
    every: ArrayLike = 1,
    curvature: Curvature | None = None,
    has_aux: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Scale a direction by the step that minimises the quadratic approximation of the loss along it.

    Equation, for the direction ``d`` that the stages before it have made::

        alpha* = -d'g / (d'Hd + damping * d'd)
        a = relaxation * alpha*             at most max_step in size
        u = a * d                           and then optax.apply_updates

    ``d`` is what would be added to the parameters: ``-g`` for steepest descent, ``-buffer`` for momentum, any
    preconditioned or averaged direction. With the other sign ``alpha*`` has the other sign too, and ``u`` is the same.
    After ``optax.sgd(1.0)`` or ``optax.scale(-1.0)`` such a ``d`` comes in. A gradient, or the buffer of
    `add_momentum`, is ``-d``: with ``uphill`` this takes the place of `scale_by_learning_rate`.

    Where there is no such step:

    - ``d'Hd + damping * d'd <= 0``, or so little above that ``alpha*`` overflows: along ``d`` the quadratic has no
      minimum. ``a = learning_rate``, turned round where ``d`` leads uphill.
    - ``d'g >= 0``: the minimum lies behind; ``a = alpha*`` is negative or 0.
    - ``d = 0``: nothing moves.
    - value, slope or curvature infinite or NaN: ``u = 0``, whatever ``d`` holds.

    ``state.info`` has a flag for each.

    Args:
        learning_rate: what to step by where there is no minimum, and what ``info.relative_step`` is relative to. Scalar
            (number, 0-d array, tracer) or a schedule of the update count, from 0; so are the next three.
        relaxation: in (0, 2) on a quadratic: below 1 stops short of the minimum, above 1 goes beyond it.
        damping: from 0, in units of curvature: how little a curvature is believed.
        max_step: bound on ``a``, from 0; None is no bound.
        uphill: what comes in is ``-d``.
        every: measure at the first update and each ``every``-th after it, and step by the same ``a`` in between, at no
            cost; by the ``a`` before that, at first ``learning_rate``, where a measurement was not finite. So it is
            under ``vmap`` too if the state begins inside of it, as the lanes then count alike; with a batched count
            every update measures.
        curvature: ``curvature(value_fn, params, d) -> d'Hd``; None is `directional_curvature`, the Hessian's. With
            `gauss_newton_curvature` it is never negative for convex losses of a network's output.
        has_aux: ``value_fn`` returns ``(value, aux)``; the second is ignored.

    Returns:
        A transformation with a `QuadraticStepState`. Its ``update`` needs ``params`` and, by keyword as for optax's own
        line searches, ``value``, ``grad`` and ``value_fn``, the loss of the batch as a function of the parameters.
        ``curvature_fn``, also by keyword, takes the place of ``value_fn`` in measuring the curvature: the loss of a
        part of the batch, say. Further extra arguments go to those functions that name them; others are ignored.

    Raises:
        ValueError: at construction for values outside their ranges; in ``update`` when an argument is missing, or
            inside ``optax.partition`` or ``optax.masked``, where the loss cannot be asked.
        TypeError: ``value_fn`` returns a pair without ``has_aux``, or none with it.

    ``flax.nnx.Optimizer.update`` forwards the keywords. ``flax.training.TrainState.apply_gradients`` drops them;
    a subclass passes them on::

        class State(TrainState):
            def apply_gradients(self, *, grads, **extra_args):
                updates, opt_state = self.tx.update(grads, self.opt_state, self.params, **extra_args)
                params = optax.apply_updates(self.params, updates)
                return self.replace(step=self.step + 1, params=params, opt_state=opt_state)

    Exactness: `rounding`; see `directional_derivatives`.

    Differs from ``optax.scale_by_backtracking_linesearch`` in: (1) no evaluation of the loss at other points: one
    curvature; (2) the step may be longer than the direction; (3) nothing guarantees a decrease where the loss is not
    close to its quadratic: ``relaxation``, ``damping`` and ``max_step`` are there for that.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> loss = lambda w: 0.5 * (jnp.array([4.0, 1.0]) * w**2).sum()
        >>> tx = optax.chain(optax.scale(-1.0), scale_by_quadratic_linesearch())
        >>> params = jnp.array([1.0, 1.0])
        >>> value, grad = jax.value_and_grad(loss)(params)
        >>> updates, state = tx.update(grad, tx.init(params), params, value=value, grad=grad, value_fn=loss)
        >>> print(f"{state[1].info.step_size:.4f}")  # 17 / 65
        0.2615
    """
    for name, hyperparameter in (("learning_rate", learning_rate), ("relaxation", relaxation), ("damping", damping)):
        check_scalar(name, hyperparameter)
        check_nonnegative(f"Invalid {name}", hyperparameter)
    if max_step is not None:
        check_scalar("max_step", max_step)
        check_nonnegative("Invalid max_step", max_step)

    def bounded(step: ArrayLike, count: jax.Array) -> jax.Array:
        if max_step is None:
            return jnp.asarray(step)
        # not jnp.clip: at max_step=0 both of its ends would meet, and the derivative would be that of neither
        limit = jnp.asarray(value_at(max_step, count))
        return jnp.where(jnp.abs(step) > limit, jnp.sign(step) * limit, step)

    def first_step(count: jax.Array) -> jax.Array:
        return bounded(value_at(learning_rate, count), count)

    def describe(line: Line, count: jax.Array) -> QuadraticStepInfo:
        damped = line._replace(curvature=line.curvature + value_at(damping, count) * line.squared_length)
        best, rate = optimal_step(damped), jnp.asarray(value_at(learning_rate, count))
        downhill = jnp.where(line.slope > 0, -rate, rate)
        known = ~jnp.isnan(best)  # the branch not taken must hold no NaN: its derivative would be one times 0
        step = jnp.where(known, value_at(relaxation, count) * jnp.where(known, best, 0), downhill)
        step = bounded(step, count)
        return _described(damped, best, step, rate)._replace(predicted_decrease=decrease(line, step))

    def step_along(updates: optax.Updates, info: QuadraticStepInfo) -> optax.Updates:
        step = -info.step_taken if uphill else info.step_taken
        return jax.tree.map(lambda x: _stepped(x, step=step, nonfinite=info.nonfinite), updates)

    return _rule("scale_by_quadratic_linesearch", first_step, describe, step_along, uphill, every, curvature, has_aux)


def observe_quadratic_step(
    learning_rate: Hyperparameter = 1.0,
    *,
    uphill: bool = False,
    every: ArrayLike = 1,
    curvature: Curvature | None = None,
    has_aux: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Measure alpha* along the updates of an optimizer, and leave them as they are.

    Equation, for updates ``u`` and the direction ``d = u / learning_rate``, or ``-u / learning_rate`` with ``uphill``::

        alpha* = -d'g / d'Hd                step_taken = learning_rate
        u = u

    Args:
        learning_rate: the one that is in the updates already, a scalar (number, 0-d array, tracer) or a schedule of the
            update count, from 0. 1 measures along the updates themselves: ``info.step_size`` is then what they
            should be multiplied by.
        uphill: what comes in is a gradient, a momentum buffer, ...: this is not the last stage of the chain, but stands
            after the one whose direction is looked at.
        every: measure at the first update and each ``every``-th after it.
        curvature: see `scale_by_quadratic_linesearch`.
        has_aux: ``value_fn`` returns ``(value, aux)``; the second is ignored.

    Returns:
        A transformation with a `QuadraticStepState`; ``update`` needs what that of `scale_by_quadratic_linesearch`
        needs. ``info`` is about ``d``; where the learning rate is 0 there is none, and ``zero_direction`` says so.

    Raises:
        ValueError: as there.

    Exactness: the updates bitwise; what is measured, `rounding`.

    Source: Schneider, Dangel and Hennig 2021, "Cockpit", arXiv:2102.06604, for the normalised step, which is there of a
    noisy quadratic fitted to both ends of the step.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from funcsgd import sgd
        >>> loss = lambda w: 2.0 * (w**2).sum()
        >>> tx = optax.chain(sgd(0.1), observe_quadratic_step(0.1))
        >>> params = jnp.array([1.0])
        >>> value, grad = jax.value_and_grad(loss)(params)
        >>> updates, state = tx.update(grad, tx.init(params), params, value=value, grad=grad, value_fn=loss)
        >>> info = state[1].info
        >>> print(f"{info.step_size:.2f} {info.relative_step:.2f} {info.normalised_step:.2f}")
        0.25 2.50 -0.60
    """
    check_scalar("learning_rate", learning_rate)
    check_nonnegative("Invalid learning rate", learning_rate)

    def describe(line: Line, count: jax.Array) -> QuadraticStepInfo:
        rate = jnp.asarray(value_at(learning_rate, count), line.slope.dtype)
        unit = jnp.where(rate > 0, rate, 1)  # without a learning rate the updates are 0 as well
        line = Line(line.slope / unit, line.curvature / unit**2, line.squared_length / unit**2)
        return _described(line, optimal_step(line), rate, unit)

    def rate_at(count: jax.Array) -> jax.Array:
        return jnp.asarray(value_at(learning_rate, count))

    return _rule(
        "observe_quadratic_step", rate_at, describe, lambda updates, info: updates, uphill, every, curvature, has_aux
    )


def _rule(
    name: str,
    first_step: Callable[[jax.Array], jax.Array],
    describe: Callable[[Line, jax.Array], QuadraticStepInfo],
    step_along: Callable[[optax.Updates, QuadraticStepInfo], optax.Updates],
    uphill: bool,
    every: ArrayLike,
    curvature: Curvature | None,
    has_aux: bool,
) -> optax.GradientTransformationExtraArgs:
    """Measure along the updates when it is time, describe what was found, and make a step of it."""
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


@per_leaf
def _stepped(x: jax.Array, *, step: jax.Array, nonfinite: jax.Array) -> jax.Array:
    return jnp.where(nonfinite, 0, step * x).astype(x.dtype)


def _described(line: Line, best: jax.Array, step: jax.Array, learning_rate: jax.Array) -> QuadraticStepInfo:
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
            f"{name} sees a part of the parameters only, and value_fn takes all of them: put it behind the "
            f"optax.partition or optax.masked, as in optax.chain(optax.partition(...), {name}(...))"
        )


def _value_of(name: str, function: Callable[..., Any], has_aux: bool) -> Callable[..., Any]:
    """The function without its other output."""

    def value(params: Any) -> Any:
        out = function(params)
        if isinstance(out, tuple) != has_aux or (has_aux and len(out) != 2):
            raise TypeError(
                f"with has_aux={has_aux} value_fn must return {'(value, aux)' if has_aux else 'a scalar'}, but returns "
                f"{jax.tree.map(jnp.shape, out)}: say {name}(..., has_aux={not has_aux})"
            )
        return out[0] if has_aux else out

    return value


def _bound(function: Callable[..., Any], extra_args: Mapping[str, Any]) -> Callable[..., Any]:
    """Give a function the extra arguments that it names, as optax's line searches do."""
    names = inspect.signature(function).parameters
    return functools.partial(function, **{name: x for name, x in extra_args.items() if name in names})
