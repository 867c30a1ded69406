"""torch.optim.Adam, for its for-loop and foreach implementations."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic import (
    SquareRoot,
    addcdiv,
    addcmul,
    as_root,
    by_parts,
    compute_dtype,
    div,
    lerp,
    mul,
    quotient,
    rounded,
    written,
)
from funcsgd.arithmetic import sqrt as torch_sqrt
from funcsgd.arithmetic.float64_words import doubles
from funcsgd.hyperparameters import Hyperparameter, check_at_least_zero, check_beta, check_scalar, is_zero
from funcsgd.optimizers.bias_correction import bias_corrections, cast, corrections_for
from funcsgd.optimizers.decoupled_decay import decay_factor
from funcsgd.optimizers.held_rate import hold, number_or_double
from funcsgd.optimizers.leaves import replacing, step_leaves, with_gradient
from funcsgd.per_leaf import check_trainable, per_leaf, zeros_like
from funcsgd.stages.weight_decay import add_weight_decay


class AdamState(NamedTuple):
    """State of `adam` and `adamw`, under torch's names.

    Attributes:
        count: int32 scalar, the number of updates made, at which schedules are evaluated.
        rate: the learning rate, as a double; `get_learning_rate` and `set_learning_rate` find it.
        step: float32, shape ``(n_leaves,)`` in the order of ``jax.tree.leaves(exp_avg)``: the number of gradients that
            each parameter has had. One for each, because torch does not count a missing gradient; in one array, because
            hundreds of scalars cost a tenth of the update.
        exp_avg: tree, shapes and dtypes of the parameters: average of the gradients.
        exp_avg_sq: likewise, average of their squares; of complex ones by parts.
        max_exp_avg_sq: likewise, the largest ``exp_avg_sq`` so far; None without ``amsgrad``.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name, in place of tuple.count
    rate: Any
    step: jax.Array
    exp_avg: optax.Updates
    exp_avg_sq: optax.Updates
    max_exp_avg_sq: optax.Updates | None


def adam(
    learning_rate: Hyperparameter | optax.GradientTransformation = 1e-3,
    betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
    eps: ArrayLike = 1e-8,
    weight_decay: Hyperparameter = 0.0,
    amsgrad: bool = False,
    maximize: bool = False,
    *,
    sqrt: str | SquareRoot = "correct",
) -> optax.GradientTransformationExtraArgs:
    """Adam, equal to ``torch.optim.Adam`` in every bit.

    Equation, for each parameter ``p`` with gradient ``g``, at its ``t``-th gradient, from 1::

        g = -g                                                       if maximize
        g = g + weight_decay * p                                     if weight_decay != 0
        m = m + (1 - beta1) * (g - m)
        v = fl(beta2 * v) + fl((1 - beta2) * g) * g
        v' = v, or the largest v so far                              if amsgrad
        d = sqrt(v') / (1 - beta2**t)**0.5 + eps
        p = p + fl(-learning_rate / (1 - beta1**t) * m) / d          by optax.apply_updates

    What contains ``t`` is calculated in float64 and rounded once, with and without JAX's 64-bit mode.

    Args:
        learning_rate: non-negative scalar (number, 0-d array, tracer), or a schedule of the update count, from 0; or a
            last stage that holds it as a double, such as `scale_by_schedulers`.
        betas: decay of the two averages, in [0, 1): scalars or schedules likewise.
        eps: non-negative scalar, added to the root.
        weight_decay: non-negative scalar or schedule, coupled: it enters both averages. `adamw` has the other kind.
        amsgrad: divide by the root of the largest ``v`` so far; the state then has a third tree.
        maximize: climb instead of descend.
        sqrt: which square root the torch has that is to be equalled: ``"correct"``, ``"mkl_avx512"``, or what
            ``torch_bridge.torch_root()`` measured of the one that is installed.

    Returns:
        An ``optax.chain``, whose last state is an `AdamState`. Its ``update`` needs ``params`` when there is weight
        decay. A gradient of None leaves its parameter, its averages and its step count as they are.

    Raises:
        ValueError: at construction, in torch's order and with torch's messages.

    Exactness: bitwise for float32 under ``jit`` on an x86-64 CPU with FMA, given equal gradients and torch's root,
    against torch's for-loop and foreach implementations; complex64 bitwise for finite values, with coupled weight decay
    against the for-loop alone, from which torch's foreach then differs. With a root that is not that of the torch
    compared, or not known, `rounding`. float64 and complex128 have the correctly rounded root, and are bitwise where
    torch's is: of random values torch's misses 0.6 % with AVX-512 on Intel's processors, 1.3 % with AVX2, 1.4 % on
    AMD's. bfloat16, float16, ``fused``, ``capturable`` and every rule on GPU and TPU `rounding`.

    Shares of 4,099 parameters that differ after 1 and 200 steps on an AMD processor, gradients over six decades,
    float16's over one (``python -m benchmarks.shares``): ``"correct"`` in the place of that torch's root, of which 17 %
    are one number off, 5 % and 16 %; ``fused`` with ``"correct"``, the root that it has everywhere, 0 and 0.02 %;
    ``capturable``, another algebra, which torch rejects on a CPU, 60 % and 82 %; float64 0.4 % and 2 %; complex128
    0.7 % and 4 %; bfloat16 0.6 % and 0.3 %; float16 0.3 % and 7 %.

    Adam's last operation is a quotient that torch rounds before it is added, so that ``optax.apply_updates`` may stand
    outside of the ``jit``. Derivatives with respect to every hyperparameter are those of the rule, those of parameters
    that never had a gradient 0.

    Source: ``torch/optim/adam.py``, ``_single_tensor_adam``, torch 2.13.0.

    Differs from ``torch.optim.Adam`` in: (1) an array as learning rate or beta counts as the double of its value, where
    torch calculates in the tensor's own dtype; (2) what a schedule or a tracer brings is not checked.

    Differs from ``optax.adam`` in: (1) torch's roundings, and its order: the bias corrections are scalars; (2) coupled
    weight decay, amsgrad as torch has it, maximize; (3) a step count for each parameter; (4) gradients of None; (5) the
    learning rate is part of the state.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = adam(0.1)
        >>> params = jnp.array([1.0, -2.0])
        >>> state = tx.init(params)
        >>> updates, state = tx.update(jnp.array([0.5, 3.0]), state, params)
        >>> [round(float(u), 6) for u in updates]  # the first step is the learning rate, whatever the gradient
        [-0.1, -0.1]
    """
    check_adam(learning_rate, betas, eps, weight_decay)
    return optax.chain(
        optax.scale(-1.0) if maximize else optax.identity(),
        add_weight_decay(weight_decay),
        step_by_adam(learning_rate, betas, eps, amsgrad=amsgrad, root=as_root(sqrt)),
    )


def check_adam(
    learning_rate: Hyperparameter | optax.GradientTransformation,
    betas: tuple[Hyperparameter, Hyperparameter],
    eps: ArrayLike,
    weight_decay: Hyperparameter,
) -> None:
    """Raise torch's ValueError for what ``torch.optim.Adam`` refuses; NaN too, which SGD lets pass."""
    if not isinstance(learning_rate, optax.GradientTransformation):
        check_scalar("lr", learning_rate)
        check_at_least_zero("Invalid learning rate", learning_rate)
    check_at_least_zero("Invalid epsilon value", eps)
    for index, beta in enumerate(betas):
        check_scalar(f"betas[{index}]", beta)
        check_beta(f"Invalid beta parameter at index {index}", beta)
    check_at_least_zero("Invalid weight_decay value", weight_decay)


def step_by_adam(
    learning_rate: Hyperparameter | optax.GradientTransformation,
    betas: tuple[Hyperparameter, Hyperparameter],
    eps: ArrayLike,
    *,
    amsgrad: bool,
    root: SquareRoot,
    decoupled_weight_decay: Hyperparameter = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """From gradients, decayed or not, to updates: what `adam` and `adamw` share.

    With decoupled weight decay, updates of float32, float64 and complex leaves are `UnroundedUpdate`.
    """
    held = hold(learning_rate)
    decays = not is_zero(decoupled_weight_decay)

    def init(params: optax.Params) -> AdamState:
        check_trainable(params)
        step = jnp.zeros((len(jax.tree.leaves(params)),), jnp.float32)
        return AdamState(
            jnp.zeros((), jnp.int32),
            held.init(),
            step,
            zeros_like(params),
            zeros_like(params),
            zeros_like(params) if amsgrad else None,
        )

    def update(
        updates: optax.Updates, state: AdamState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, AdamState]:
        if decays and params is None:
            raise ValueError("adamw needs the parameters: call tx.update(grads, state, params)")
        step = state.step + with_gradient(updates, state.exp_avg)
        lr, rate = held.update(state.rate, state.count, extra_args)
        beta1, beta2 = (number_or_double(beta, state.count) for beta in betas)
        decay = decay_factor(lr, decoupled_weight_decay, state.count, params)
        with doubles():
            weights: Any = 1 - beta1, 1 - beta2
        dtypes = [compute_dtype(average.real.dtype) for average in jax.tree.leaves(state.exp_avg)]
        corrections = corrections_for(dtypes, *bias_corrections(step, lr, beta1, beta2))

        def step_leaf(i: int, p: jax.Array | None, g: jax.Array, *averages: jax.Array | None) -> tuple[Any, ...]:
            dtype = dtypes[i]
            out, *moments = _single_tensor_adam(
                p if decays else None,
                g,
                *averages,
                weight1=cast(weights[0], dtype),
                beta2=cast(beta2, dtype),
                weight2=cast(weights[1], dtype),
                corrections=corrections[i],
                eps=eps,
                decay=cast(decay, dtype),
                root=root,
            )
            return (replacing(p, out) if decays and p is not None else out), *moments

        old = state.exp_avg, state.exp_avg_sq, state.max_exp_avg_sq
        updates, new = step_leaves(step_leaf, updates, params, old)
        return updates, AdamState(optax.safe_increment(state.count), rate, step, *new)

    return optax.GradientTransformationExtraArgs(init, update)


@per_leaf
def _single_tensor_adam(*leaves: jax.Array | None, **hyperparameters: Any) -> tuple[Any, ...]:
    return by_parts(functools.partial(_adam, **hyperparameters), *leaves)


def _adam(
    param: jax.Array | None,
    grad: jax.Array,
    exp_avg: jax.Array,
    exp_avg_sq: jax.Array,
    max_exp_avg_sq: jax.Array | None,
    *,
    weight1: ArrayLike,
    beta2: ArrayLike,
    weight2: ArrayLike,
    corrections: jax.Array,
    eps: ArrayLike,
    decay: jax.Array | None,
    root: SquareRoot,
) -> tuple[jax.Array | None, ...]:
    """One real leaf, as torch's function goes: the update, or with a decay the new parameter; then the averages."""
    step_size, bias_correction2_sqrt = corrections[0], corrections[1]
    grad = rounded(grad)
    if param is not None and decay is not None:
        param = mul(param, decay)
    exp_avg = written(lerp(exp_avg, grad, weight1), grad)
    exp_avg_sq = written(addcmul(mul(exp_avg_sq, beta2), grad, grad, value=weight2), grad)
    if max_exp_avg_sq is not None:
        max_exp_avg_sq = written(jnp.maximum(max_exp_avg_sq, exp_avg_sq))
    largest = exp_avg_sq if max_exp_avg_sq is None else max_exp_avg_sq
    denom = div(torch_sqrt(largest, root), bias_correction2_sqrt)
    denom = denom + jnp.asarray(eps, denom.dtype)
    if param is None:  # p + quotient is torch's addcdiv
        return quotient(exp_avg, denom, value=-step_size), exp_avg, exp_avg_sq, max_exp_avg_sq
    param = addcdiv(param.astype(compute_dtype(param.dtype)), exp_avg, denom, value=-step_size)
    return param, exp_avg, exp_avg_sq, max_exp_avg_sq
