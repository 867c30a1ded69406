"""torch.optim.Adafactor, which keeps a row and a column in place of each matrix of squares."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic import add_to_rounded, compute_dtype, lerp, mul, rounded, written
from funcsgd.arithmetic.float64_words import doubles
from funcsgd.hyperparameters import Hyperparameter, check_at_least_zero, check_scalar
from funcsgd.optimizers.bias_correction import cast, corrections_for, power
from funcsgd.optimizers.decoupled_decay import decay_factor
from funcsgd.optimizers.held_rate import hold, number_or_double
from funcsgd.optimizers.leaves import replacing, step_leaves, with_gradient
from funcsgd.per_leaf import check_trainable, per_leaf


class AdafactorState(NamedTuple):
    """State of `adafactor`, under torch's names.

    Attributes:
        count: int32 scalar, the number of updates made, at which schedules are evaluated.
        rate: the learning rate, as a double; `get_learning_rate` and `set_learning_rate` find it.
        step: float32, shape ``(n_leaves,)`` in the order of ``jax.tree.leaves(row_var)``: the number of gradients that
            each parameter has had.
        row_var: tree, the shapes of the parameters with 1 for the last axis: average of the gradients' squares over it;
            of parameters with one axis or none an array of shape ``(0,)``.
        col_var: likewise, with 1 for the axis before the last, over which it is the average.
        variance: likewise, of parameters with one axis or none alone: average of the squares, in their shapes.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name, in place of tuple.count
    rate: Any
    step: jax.Array
    row_var: optax.Updates
    col_var: optax.Updates
    variance: optax.Updates


def adafactor(
    learning_rate: Hyperparameter | optax.GradientTransformation = 1e-2,
    beta2_decay: Hyperparameter = -0.8,
    eps: tuple[ArrayLike | None, ArrayLike] = (None, 1e-3),
    d: ArrayLike = 1.0,
    weight_decay: Hyperparameter = 0.0,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Adafactor, as ``torch.optim.Adafactor`` has it.

    Equation, for each parameter ``p`` with gradient ``g``, at its ``t``-th gradient, from 1::

        g = -g                                                       if maximize
        w = t**beta2_decay
        s = max(eps2, rms(p)) * min(learning_rate, 1 / t**0.5)
        p = fl(p * (1 - learning_rate * weight_decay))               if weight_decay != 0
        r = r + w * (mean over columns of g * g - r)                 of a parameter with two axes or more, the last two
        c = c + w * (mean over rows of g * g - c)
        v = r @ c / max(mean of r, eps1)
        v = v + w * (g * g - v)                                      of another
        u = g / sqrt(max(v, eps1 * eps1))
        p = p - s / max(1, rms(u) / d) * u                           rms: root of the mean square

    torch rounds twice on the way from a parameter to the next where there is weight decay; updates are
    `UnroundedUpdate`, as those of `adamw`.

    Args:
        learning_rate: non-negative scalar (number, 0-d array, tracer), or a schedule of the update count, from 0; or a
            last stage that holds it as a double, such as `scale_by_schedulers`. The largest relative step.
        beta2_decay: scalar, not above 0, or schedule: the power with which the averages' weights fall.
        eps: the least root of a mean square, None for that of the parameter's dtype, and the least size of a parameter.
        d: scalar from 1, the size of a direction above which it is shortened.
        weight_decay: non-negative scalar or schedule, decoupled.
        maximize: climb instead of descend.

    Returns:
        An ``optax.chain``, whose last state is an `AdafactorState`. Its ``update`` needs ``params``. A gradient of None
        leaves its parameter, its averages and its step count as they are.

    Raises:
        ValueError: at construction, in torch's order and with torch's messages; in ``init`` for complex parameters; in
            ``update`` when ``params`` is missing.

    Exactness: `rounding`: norms and means are sums whose order torch does not say. Step counts, weights and the decay
    are torch's in every bit.

    Source: ``torch/optim/_adafactor.py``, ``_single_tensor_adafactor``, torch 2.13.0.

    Differs from ``torch.optim.Adafactor`` in: (1) ``eps[0]`` of None is that of each parameter's dtype, where torch
    takes the first one's for all of a group; (2) what a schedule or a tracer brings is not checked.

    Differs from ``optax.adafactor`` in: (1) every matrix is factored, however small, by its last two axes, optax's by
    its largest two; (2) the relative step is the smaller of ``learning_rate`` and ``1 / t**0.5``; (3) weight decay
    counts times the learning rate; (4) ``eps`` bounds the averages, optax's is added to the squares; (5) maximize;
    (6) gradients of None.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> tx = adafactor(0.1)
        >>> params = jnp.array([3.0, -3.0])
        >>> updates, state = tx.update(jnp.array([0.5, 0.25]), tx.init(params), params)
        >>> optax.apply_updates(params, updates)  # a tenth of their size, whatever the gradients
        Array([ 2.7, -3.3], dtype=float32)
    """
    if not isinstance(learning_rate, optax.GradientTransformation):
        check_scalar("lr", learning_rate)
        check_at_least_zero("Learning rate should be >= 0 but is", learning_rate)
    if isinstance(beta2_decay, int | float) and not beta2_decay <= 0.0:
        raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
    if eps[0] is not None:
        check_at_least_zero("epsilon1 should be >= 0 but is", eps[0])
    check_at_least_zero("epsilon2 should be >= 0 but is", eps[1])
    if isinstance(d, int | float) and not d >= 1.0:
        raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
    check_at_least_zero("weight_decay should be >= 0 but is", weight_decay)
    return optax.chain(
        optax.scale(-1.0) if maximize else optax.identity(),
        _step_by_adafactor(learning_rate, beta2_decay, eps, d, weight_decay),
    )


def _step_by_adafactor(
    learning_rate: Hyperparameter | optax.GradientTransformation,
    beta2_decay: Hyperparameter,
    eps: tuple[ArrayLike | None, ArrayLike],
    d: ArrayLike,
    weight_decay: Hyperparameter,
) -> optax.GradientTransformationExtraArgs:
    held = hold(learning_rate)

    def init(params: optax.Params) -> AdafactorState:
        check_trainable(params)
        if any(jnp.iscomplexobj(p) for p in jax.tree.leaves(params)):
            raise ValueError("Adafactor does not support complex parameters")
        step = jnp.zeros((len(jax.tree.leaves(params)),), jnp.float32)
        return AdafactorState(
            jnp.zeros((), jnp.int32),
            held.init(),
            step,
            jax.tree.map(lambda p: jnp.zeros((*p.shape[:-1], 1) if p.ndim > 1 else (0,), p.dtype), params),
            jax.tree.map(lambda p: jnp.zeros((*p.shape[:-2], 1, p.shape[-1]) if p.ndim > 1 else (0,), p.dtype), params),
            jax.tree.map(lambda p: jnp.zeros((0,) if p.ndim > 1 else p.shape, p.dtype), params),
        )

    def update(
        updates: optax.Updates, state: AdafactorState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, AdafactorState]:
        if params is None:
            raise ValueError("adafactor needs the parameters: call tx.update(grads, state, params)")
        step = state.step + with_gradient(updates, state.row_var)
        lr, rate = held.update(state.rate, state.count, extra_args)
        decay = decay_factor(lr, weight_decay, state.count, params)
        with doubles():
            sizes = _weight_and_rho(step, lr, number_or_double(beta2_decay, state.count))
        dtypes = [compute_dtype(x.dtype) for x in jax.tree.leaves(state.row_var)]
        corrections = corrections_for(dtypes, *sizes)

        def step_leaf(i: int, p: jax.Array, g: jax.Array, *averages: jax.Array) -> tuple[Any, ...]:
            eps1 = float(jnp.finfo(p.dtype).eps) if eps[0] is None else eps[0]  # type: ignore[no-untyped-call]
            new, *kept = _single_tensor_adafactor(
                p, g, *averages, corrections=corrections[i], eps1=eps1, eps2=eps[1], d=d, decay=cast(decay, dtypes[i])
            )
            return replacing(p, new), *kept

        old = state.row_var, state.col_var, state.variance
        updates, new = step_leaves(step_leaf, updates, params, old)
        return updates, AdafactorState(optax.safe_increment(state.count), rate, step, *new)

    return optax.GradientTransformationExtraArgs(init, update)


@jax.jit
def _weight_and_rho(step: jax.Array, lr: jax.Array, beta2_decay: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """In float64, of each parameter: the weight of a gradient in the averages, and the relative step."""
    step = jnp.maximum(step.astype(jnp.float64), 1)
    weight = power(step, jnp.broadcast_to(jnp.asarray(beta2_decay, jnp.float64), step.shape))
    return weight, jnp.minimum(lr, 1 / jnp.sqrt(step))


@per_leaf
def _single_tensor_adafactor(
    param: jax.Array,
    grad: jax.Array,
    row_var: jax.Array,
    col_var: jax.Array,
    variance: jax.Array,
    *,
    corrections: jax.Array,
    eps1: ArrayLike,
    eps2: ArrayLike,
    d: ArrayLike,
    decay: jax.Array | None,
) -> tuple[jax.Array, ...]:
    """One leaf, as torch's function goes: the new parameter, then the averages."""
    one_minus_beta2_t, rho_t = corrections[0], corrections[1]
    dtype = compute_dtype(param.dtype)
    param, grad = param.astype(dtype), rounded(grad.astype(dtype))
    alpha = jnp.maximum(jnp.asarray(eps2, dtype), _rms(param)) * rho_t
    if decay is not None:
        param = mul(param, decay)
    squares = rounded(grad * grad)
    if grad.ndim > 1:
        row_var = written(lerp(row_var, squares.mean(-1, keepdims=True).astype(row_var.dtype), one_minus_beta2_t))
        col_var = written(lerp(col_var, squares.mean(-2, keepdims=True).astype(col_var.dtype), one_minus_beta2_t))
        mean = jnp.maximum(row_var.astype(dtype).mean(-2, keepdims=True), jnp.asarray(eps1, dtype))
        estimate = rounded(row_var.astype(dtype) * col_var.astype(dtype)) / mean
    else:
        variance = written(lerp(variance, squares.astype(variance.dtype), one_minus_beta2_t))
        estimate = variance.astype(dtype)
    update = 1 / jnp.sqrt(jnp.maximum(estimate, jnp.asarray(eps1, dtype) ** 2))
    update = rounded(update * grad)
    denom = jnp.maximum(1, _rms(update) / jnp.asarray(d, dtype))
    return add_to_rounded(rounded(param), update, alpha=-alpha / denom), row_var, col_var, variance


def _rms(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.square(x)) / x.size)
