"""torch.optim.Adamax, for its for-loop and foreach implementations."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic import by_parts, compute_dtype, lerp, mul, quotient, rounded, written
from funcsgd.arithmetic.float64_words import doubles
from funcsgd.hyperparameters import Hyperparameter
from funcsgd.optimizers.adam import check_adam
from funcsgd.optimizers.bias_correction import bias_corrections, cast, corrections_for
from funcsgd.optimizers.held_rate import hold, number_or_double
from funcsgd.optimizers.leaves import step_leaves, with_gradient
from funcsgd.per_leaf import check_trainable, per_leaf, zeros_like
from funcsgd.stages.weight_decay import add_weight_decay


class AdamaxState(NamedTuple):
    """State of `adamax`, under torch's names.

    Attributes:
        count: int32 scalar, the number of updates made, at which schedules are evaluated.
        rate: the learning rate, as a double; `get_learning_rate` and `set_learning_rate` find it.
        step: float32, shape ``(n_leaves,)`` in the order of ``jax.tree.leaves(exp_avg)``: the number of gradients that
            each parameter has had.
        exp_avg: tree, shapes and dtypes of the parameters: average of the gradients.
        exp_inf: likewise, the largest gradient, of which the earlier ones count less; of complex ones by parts.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name, in place of tuple.count
    rate: Any
    step: jax.Array
    exp_avg: optax.Updates
    exp_inf: optax.Updates


def adamax(
    learning_rate: Hyperparameter | optax.GradientTransformation = 2e-3,
    betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
    eps: ArrayLike = 1e-8,
    weight_decay: Hyperparameter = 0.0,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Adamax, Adam with the infinity norm, equal to ``torch.optim.Adamax`` in every bit.

    Equation, for each parameter ``p`` with gradient ``g``, at its ``t``-th gradient, from 1::

        g = -g                                                       if maximize
        g = g + weight_decay * p                                     if weight_decay != 0
        m = m + (1 - beta1) * (g - m)
        n = max(fl(beta2 * n), fl(|g| + eps))
        p = p + fl(-learning_rate / (1 - beta1**t) * m) / n          by optax.apply_updates

    What contains ``t`` is calculated in float64 and rounded once, with and without JAX's 64-bit mode.

    Args:
        learning_rate: non-negative scalar (number, 0-d array, tracer), or a schedule of the update count, from 0; or a
            last stage that holds it as a double, such as `scale_by_schedulers`.
        betas: decay of the average and of the norm, in [0, 1): scalars or schedules likewise.
        eps: non-negative scalar, added to the size of the gradient.
        weight_decay: non-negative scalar or schedule, coupled: it enters the average and the norm.
        maximize: climb instead of descend.

    Returns:
        An ``optax.chain``, whose last state is an `AdamaxState`. Its ``update`` needs ``params`` when there is weight
        decay. A gradient of None leaves its parameter, its average, its norm and its step count as they are.

    Raises:
        ValueError: at construction, in torch's order and with torch's messages.

    Exactness: bitwise for float32 and float64 under ``jit`` on an x86-64 CPU with FMA, given equal gradients, against
    torch's for-loop and foreach implementations; complex64 bitwise for finite values, with weight decay against the
    for-loop alone. There is no root in it. bfloat16, float16, ``capturable`` and GPU and TPU `rounding`.

    Source: ``torch/optim/adamax.py``, ``_single_tensor_adamax``, torch 2.13.0.

    Differs from ``torch.optim.Adamax`` in: what a schedule or a tracer brings is not checked.

    Differs from ``optax.adamax`` in: (1) coupled weight decay and maximize; (2) a step count for each parameter;
    (3) torch's roundings; (4) gradients of None.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = adamax(0.1)
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = tx.update(jnp.array([0.5, 3.0]), tx.init(params), params)
        >>> [round(float(u), 6) for u in updates]  # the first step is the learning rate, whatever the gradient
        [-0.1, -0.1]
    """
    check_adam(learning_rate, betas, eps, weight_decay)
    return optax.chain(
        optax.scale(-1.0) if maximize else optax.identity(),
        add_weight_decay(weight_decay),
        _step_by_adamax(learning_rate, betas, eps),
    )


def _step_by_adamax(
    learning_rate: Hyperparameter | optax.GradientTransformation,
    betas: tuple[Hyperparameter, Hyperparameter],
    eps: ArrayLike,
) -> optax.GradientTransformationExtraArgs:
    held = hold(learning_rate)

    def init(params: optax.Params) -> AdamaxState:
        check_trainable(params)
        step = jnp.zeros((len(jax.tree.leaves(params)),), jnp.float32)
        return AdamaxState(jnp.zeros((), jnp.int32), held.init(), step, zeros_like(params), zeros_like(params))

    def update(
        updates: optax.Updates, state: AdamaxState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, AdamaxState]:
        step = state.step + with_gradient(updates, state.exp_avg)
        lr, rate = held.update(state.rate, state.count, extra_args)
        beta1, beta2 = (number_or_double(beta, state.count) for beta in betas)
        with doubles():
            weight: Any = 1 - beta1
        dtypes = [compute_dtype(average.real.dtype) for average in jax.tree.leaves(state.exp_avg)]
        corrections = corrections_for(dtypes, bias_corrections(step, lr, beta1, beta2)[0])

        def step_leaf(i: int, p: jax.Array | None, g: jax.Array, *averages: jax.Array) -> tuple[Any, ...]:
            del p
            return _single_tensor_adamax(
                g,
                *averages,
                weight=cast(weight, dtypes[i]),
                beta2=cast(beta2, dtypes[i]),
                corrections=corrections[i],
                eps=eps,
            )

        updates, averages = step_leaves(step_leaf, updates, params, (state.exp_avg, state.exp_inf))
        return updates, AdamaxState(optax.safe_increment(state.count), rate, step, *averages)

    return optax.GradientTransformationExtraArgs(init, update)


@per_leaf
def _single_tensor_adamax(*leaves: jax.Array, **hyperparameters: Any) -> tuple[Any, ...]:
    return by_parts(functools.partial(_adamax, **hyperparameters), *leaves)


def _adamax(
    grad: jax.Array,
    exp_avg: jax.Array,
    exp_inf: jax.Array,
    *,
    weight: ArrayLike,
    beta2: ArrayLike,
    corrections: jax.Array,
    eps: ArrayLike,
) -> tuple[jax.Array, ...]:
    """One real leaf, as torch's function goes: the update, the average and the norm."""
    clr = corrections[0]
    grad = rounded(grad)
    exp_avg = written(lerp(exp_avg, grad, weight), grad)
    exp_inf = written(jnp.maximum(mul(exp_inf, beta2), jnp.abs(grad) + jnp.asarray(eps, grad.dtype)))
    return quotient(exp_avg, exp_inf, value=-clr), exp_avg, exp_inf  # p + quotient is torch's addcdiv
