"""The step to the minimum of the quadratic approximation along a direction, taken or only observed."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from funcsgd.curvature.line_measurement import described, measuring_rule
from funcsgd.curvature.quadratic_step import Curvature, Line, QuadraticStepInfo, decrease, optimal_step
from funcsgd.hyperparameters import Hyperparameter, check_nonnegative, check_scalar, value_at
from funcsgd.per_leaf import per_leaf


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
    `add_momentum`, is ``-d``: with ``uphill`` this replaces `scale_by_learning_rate`.

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
        damping: from 0, in units of curvature: added to the measured curvature.
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
        ``curvature_fn``, also by keyword, replaces ``value_fn`` in measuring the curvature: for example the loss of a
        part of the batch. Further extra arguments go to those functions that name them; others are ignored.

    Raises:
        ValueError: at construction for values outside their ranges; in ``update`` when an argument is missing, or
            inside ``optax.partition`` or ``optax.masked``, where the loss cannot be evaluated.
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
        # not jnp.clip: at max_step=0 both of its ends would be equal, and the derivative would be that of neither
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
        return described(damped, best, step, rate)._replace(predicted_decrease=decrease(line, step))

    def step_along(updates: optax.Updates, info: QuadraticStepInfo) -> optax.Updates:
        step = -info.step_taken if uphill else info.step_taken
        return jax.tree.map(lambda x: _stepped(x, step=step, nonfinite=info.nonfinite), updates)

    return measuring_rule(
        "scale_by_quadratic_linesearch", first_step, describe, step_along, uphill, every, curvature, has_aux
    )


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
            after the one whose direction is measured.
        every: measure at the first update and each ``every``-th after it.
        curvature: see `scale_by_quadratic_linesearch`.
        has_aux: ``value_fn`` returns ``(value, aux)``; the second is ignored.

    Returns:
        A transformation with a `QuadraticStepState`; ``update`` needs what that of `scale_by_quadratic_linesearch`
        needs. ``info`` is about ``d``; where the learning rate is 0 there is none, and ``zero_direction`` is True.

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
        return described(line, optimal_step(line), rate, unit)

    def rate_at(count: jax.Array) -> jax.Array:
        return jnp.asarray(value_at(learning_rate, count))

    return measuring_rule(
        "observe_quadratic_step", rate_at, describe, lambda updates, info: updates, uphill, every, curvature, has_aux
    )


@per_leaf
def _stepped(x: jax.Array, *, step: jax.Array, nonfinite: jax.Array) -> jax.Array:
    return jnp.where(nonfinite, 0, step * x).astype(x.dtype)
