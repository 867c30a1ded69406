"""torch.optim.RMSprop, for its for-loop and foreach implementations."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic import (
    SquareRoot,
    add,
    addcdiv,
    addcmul,
    as_root,
    by_parts,
    compute_dtype,
    lerp,
    mul,
    quotient,
    rounded,
    written,
)
from funcsgd.arithmetic import sqrt as torch_sqrt
from funcsgd.arithmetic.float64_words import doubles
from funcsgd.hyperparameters import Hyperparameter, check_at_least_zero, check_scalar, is_zero
from funcsgd.optimizers.bias_correction import cast
from funcsgd.optimizers.held_rate import double_at, hold
from funcsgd.optimizers.leaves import replacing, step_leaves, with_gradient
from funcsgd.per_leaf import check_trainable, per_leaf, zeros_like
from funcsgd.stages.learning_rate import moved
from funcsgd.stages.weight_decay import add_weight_decay


class RMSpropState(NamedTuple):
    """State of `rmsprop`, under torch's names.

    Attributes:
        count: int32 scalar, the number of updates made, at which schedules are evaluated.
        rate: the learning rate, as a double; `get_learning_rate` and `set_learning_rate` find it.
        step: float32, shape ``(n_leaves,)`` in the order of ``jax.tree.leaves(square_avg)``: the number of gradients
            that each parameter has had.
        square_avg: tree, shapes and dtypes of the parameters: average of the gradients' squares; of complex ones by
            parts.
        grad_avg: likewise, average of the gradients; None unless ``centered``.
        momentum_buffer: likewise, what the parameters move along; None without momentum.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name, in place of tuple.count
    rate: Any
    step: jax.Array
    square_avg: optax.Updates
    grad_avg: optax.Updates | None
    momentum_buffer: optax.Updates | None


def rmsprop(
    learning_rate: Hyperparameter | optax.GradientTransformation = 1e-2,
    alpha: Hyperparameter = 0.99,
    eps: ArrayLike = 1e-8,
    weight_decay: Hyperparameter = 0.0,
    momentum: Hyperparameter = 0.0,
    centered: bool = False,
    maximize: bool = False,
    *,
    sqrt: str | SquareRoot = "correct",
) -> optax.GradientTransformationExtraArgs:
    """RMSprop, equal to ``torch.optim.RMSprop`` in every bit.

    Equation, for each parameter ``p`` with gradient ``g``::

        g = -g                                                       if maximize
        g = g + weight_decay * p                                     if weight_decay != 0
        v = fl(alpha * v) + fl((1 - alpha) * g) * g
        m = m + (1 - alpha) * (g - m)                                if centered
        d = sqrt(v - m * m if centered else v) + eps
        p = p + fl(-learning_rate * g) / d                           without momentum
        b = fl(momentum * b) + g / d,  p = p - learning_rate * b     with it
                                                                     p by optax.apply_updates, in the same jit

    Args:
        learning_rate: non-negative scalar (number, 0-d array, tracer), or a schedule of the update count, from 0; or a
            last stage that holds it as a double, such as `scale_by_schedulers`.
        alpha: non-negative scalar or schedule: the decay of the averages.
        eps: non-negative scalar, added to the root.
        weight_decay: non-negative scalar or schedule, coupled: it enters the averages.
        momentum: non-negative scalar or schedule. Of the number 0 there is no buffer.
        centered: divide by the root of an estimate of the variance, in place of the mean square.
        maximize: climb instead of descend.
        sqrt: which square root the torch has that is to be equalled, as in `adam`.

    Returns:
        An ``optax.chain``, whose last state is an `RMSpropState`. Its ``update`` needs ``params`` when there is weight
        decay. A gradient of None leaves its parameter, its averages and its step count as they are.

    Raises:
        ValueError: at construction, in torch's order and with torch's messages.

    Exactness: that of `adam`. Where ``centered`` leaves a negative variance, by rounding or at an ``alpha`` above 1,
    the root is NaN, as it is in torch.

    Source: ``torch/optim/rmsprop.py``, ``_single_tensor_rmsprop``, torch 2.13.0.

    Differs from ``torch.optim.RMSprop`` in: (1) a momentum that a schedule brings to 0 still moves along the buffer,
    where torch leaves the buffer as it is; (2) what a schedule or a tracer brings is not checked.

    Differs from ``optax.rmsprop`` in: (1) ``eps`` is outside of the root, as with ``eps_in_sqrt=False``; (2) the
    learning rate is outside of the momentum buffer; (3) ``alpha`` is 0.99 where ``decay`` is 0.9; (4) coupled weight
    decay and maximize; (5) torch's roundings; (6) gradients of None.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = rmsprop(0.1, alpha=0.75)
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = tx.update(jnp.array([0.5, 3.0]), tx.init(params), params)
        >>> [round(float(u), 6) for u in updates]  # v = 0.25 * g * g, so the step is the learning rate over 0.5
        [-0.2, -0.2]
    """
    if not isinstance(learning_rate, optax.GradientTransformation):
        check_scalar("lr", learning_rate)
        check_at_least_zero("Invalid learning rate", learning_rate)
    check_at_least_zero("Invalid epsilon value", eps)
    for message, name, value in (
        ("Invalid momentum value", "momentum", momentum),
        ("Invalid weight_decay value", "weight_decay", weight_decay),
        ("Invalid alpha value", "alpha", alpha),
    ):
        check_scalar(name, value)
        check_at_least_zero(message, value)
    return optax.chain(
        optax.scale(-1.0) if maximize else optax.identity(),
        add_weight_decay(weight_decay),
        _step_by_rmsprop(learning_rate, alpha, eps, momentum, centered=centered, root=as_root(sqrt)),
    )


def _step_by_rmsprop(
    learning_rate: Hyperparameter | optax.GradientTransformation,
    alpha: Hyperparameter,
    eps: ArrayLike,
    momentum: Hyperparameter,
    *,
    centered: bool,
    root: SquareRoot,
) -> optax.GradientTransformationExtraArgs:
    held, moves = hold(learning_rate), not is_zero(momentum)

    def init(params: optax.Params) -> RMSpropState:
        check_trainable(params)
        return RMSpropState(
            jnp.zeros((), jnp.int32),
            held.init(),
            jnp.zeros((len(jax.tree.leaves(params)),), jnp.float32),
            zeros_like(params),
            zeros_like(params) if centered else None,
            zeros_like(params) if moves else None,
        )

    def update(
        updates: optax.Updates, state: RMSpropState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, RMSpropState]:
        step = state.step + with_gradient(updates, state.square_avg)
        lr, rate = held.update(state.rate, state.count, extra_args)
        decay, beta = (x if isinstance(x, int | float) else double_at(x, state.count) for x in (alpha, momentum))
        with doubles():
            weight, step_size = 1 - decay, -lr

        def step_leaf(i: int, p: jax.Array | None, g: jax.Array, *averages: jax.Array | None) -> tuple[Any, ...]:
            del i
            dtype = compute_dtype(g.real.dtype)
            out, *new = _single_tensor_rmsprop(
                g,
                *averages,
                alpha=cast(decay, dtype),
                weight=cast(weight, dtype),
                momentum=cast(beta, dtype),
                step_size=cast(step_size, dtype),
                eps=eps,
                root=root,
            )
            return (_along(out, p, cast(step_size, dtype)) if moves else out), *new

        old = state.square_avg, state.grad_avg, state.momentum_buffer
        updates, new = step_leaves(step_leaf, updates, params, old)
        return updates, RMSpropState(optax.safe_increment(state.count), rate, step, *new)

    return optax.GradientTransformationExtraArgs(init, update)


def _along(buffer: jax.Array, param: jax.Array | None, step_size: jax.Array) -> Any:
    """The update ``step_size * buffer``; of complex leaves one that rounds by parts, as torch's sum does here."""
    if param is None or not jnp.iscomplexobj(param):
        return moved(buffer, param, step_size)
    return replacing(param, by_parts(lambda p, b: (add(p, b, alpha=step_size),), param, buffer)[0])


@per_leaf
def _single_tensor_rmsprop(*leaves: jax.Array | None, **hyperparameters: Any) -> tuple[Any, ...]:
    return by_parts(functools.partial(_rmsprop, **hyperparameters), *leaves)


def _rmsprop(
    grad: jax.Array,
    square_avg: jax.Array,
    grad_avg: jax.Array | None,
    momentum_buffer: jax.Array | None,
    *,
    alpha: ArrayLike,
    weight: ArrayLike,
    momentum: ArrayLike,
    step_size: ArrayLike,
    eps: ArrayLike,
    root: SquareRoot,
) -> tuple[jax.Array | None, ...]:
    """One real leaf, as torch's function goes: the update, or with momentum the buffer; then what the state holds."""
    grad = rounded(grad)
    square_avg = written(addcmul(mul(square_avg, alpha), grad, grad, value=weight), grad)
    spread = square_avg
    if grad_avg is not None:
        grad_avg = written(lerp(grad_avg, grad, weight), grad)
        spread = addcmul(square_avg, grad_avg, grad_avg, value=-1)
    denom = torch_sqrt(spread, root)
    denom = denom + jnp.asarray(eps, denom.dtype)
    if momentum_buffer is None:  # p + quotient is torch's addcdiv
        return quotient(grad, denom, value=step_size), square_avg, grad_avg, None
    momentum_buffer = written(addcdiv(mul(momentum_buffer, momentum), grad, denom))
    return momentum_buffer, square_avg, grad_avg, momentum_buffer
