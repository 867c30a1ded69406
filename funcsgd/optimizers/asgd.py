"""torch.optim.ASGD, for its for-loop implementation."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic import add_to_rounded, by_parts, compute_dtype, mul, rounded, written
from funcsgd.arithmetic.float64_words import doubles
from funcsgd.hyperparameters import Hyperparameter, check_at_least_zero, check_scalar
from funcsgd.optimizers.bias_correction import corrections_for, not_constant, power
from funcsgd.optimizers.held_rate import hold, number_or_double
from funcsgd.optimizers.leaves import as_scalars, as_vector, replacing, step_leaves, with_gradient
from funcsgd.per_leaf import check_trainable, per_leaf, zeros_like
from funcsgd.stages.weight_decay import coupled_decay


class ASGDState(NamedTuple):
    """State of `asgd`, under torch's names.

    Attributes:
        count: int32 scalar, the number of updates made, at which schedules are evaluated.
        rate: the learning rate, as a double; `get_learning_rate` and `set_learning_rate` find it.
        step: float32, shape ``(n_leaves,)`` in the order of ``jax.tree.leaves(ax)``: the number of gradients that each
            parameter has had.
        eta: tree of float32 scalars, one for each parameter: the step size of its next gradient; 0, and not yet used,
            before its first.
        mu: likewise, the weight of the parameter in the average after its next gradient.
        ax: tree, shapes and dtypes of the parameters: the average.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name, in place of tuple.count
    rate: Any
    step: jax.Array
    eta: optax.Updates
    mu: optax.Updates
    ax: optax.Updates


def asgd(
    learning_rate: Hyperparameter | optax.GradientTransformation = 1e-2,
    lambd: Hyperparameter = 1e-4,
    alpha: Hyperparameter = 0.75,
    t0: Hyperparameter = 1e6,
    weight_decay: Hyperparameter = 0.0,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """ASGD, stochastic gradient descent with an average beside it, equal to ``torch.optim.ASGD`` in every bit.

    Equation, for each parameter ``p`` with gradient ``g``, at its ``t``-th gradient, from 1::

        g   = -g                                                     if maximize
        g   = g + weight_decay * p                                   if weight_decay != 0
        p   = fl(p * (1 - lambd * eta)) - eta * g                    eta at first the learning rate
        ax  = p                                                      if mu == 1, as it is at first
        ax  = ax + fl(mu * (p - ax))                                 otherwise
        eta = learning_rate / (1 + lambd * learning_rate * t)**alpha
        mu  = 1 / max(1, t - t0)

    The last two are calculated in float64 and held in float32, as torch does; so a learning rate that a schedule
    changes counts from the gradient after it. torch rounds twice on the way from a parameter to the next, so that
    updates are `UnroundedUpdate`, as those of `adamw`.

    Args:
        learning_rate: non-negative scalar (number, 0-d array, tracer), or a schedule of the update count, from 0; or a
            last stage that holds it as a double, such as `scale_by_schedulers`.
        lambd: scalar or schedule: decay of the parameters and of the step size.
        alpha: scalar or schedule: the power with which the step size falls.
        t0: scalar or schedule: the step from which on the parameters are averaged.
        weight_decay: non-negative scalar or schedule, coupled.
        maximize: climb instead of descend.

    Returns:
        An ``optax.chain``, whose last state is an `ASGDState`, with the average in ``ax``. Its ``update`` needs
        ``params``. A gradient of None leaves its parameter, its state and its step count as they are.

    Raises:
        ValueError: at construction, in torch's order and with torch's messages; in ``update`` when ``params`` is
            missing.

    Exactness: bitwise for float32 and float64 under ``jit`` on an x86-64 CPU with FMA, given equal gradients, against
    torch's for-loop alone, the one that it takes on a CPU; complex64 bitwise for finite values. bfloat16, float16,
    ``capturable`` and GPU and TPU `rounding`. torch's foreach adds the decay to the gradient: shares of 4,099 float32
    parameters that differ from the for-loop after 1 and 200 steps, gradients over six decades: 29 % and 99 %.

    Source: ``torch/optim/asgd.py``, ``_single_tensor_asgd``, torch 2.13.0.

    Differs from ``torch.optim.ASGD`` in: what a schedule or a tracer brings is not checked.

    optax has nothing like it; `funcsgd.averages` has averages for any rule.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> tx = asgd(0.5, lambd=0.0, t0=0.0)
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = tx.update(jnp.array([0.5, 3.0]), tx.init(params), params)
        >>> params = optax.apply_updates(params, updates)
        >>> params
        Array([ 0.75, -3.5 ], dtype=float32)
        >>> state[-1].ax
        Array([ 0.75, -3.5 ], dtype=float32)
    """
    if not isinstance(learning_rate, optax.GradientTransformation):
        check_scalar("lr", learning_rate)
        check_at_least_zero("Invalid learning rate", learning_rate)
    check_scalar("weight_decay", weight_decay)
    check_at_least_zero("Invalid weight_decay value", weight_decay)
    return optax.chain(
        optax.scale(-1.0) if maximize else optax.identity(),
        coupled_decay(weight_decay, parts=True),
        _step_by_asgd(learning_rate, lambd, alpha, t0),
    )


def _step_by_asgd(
    learning_rate: Hyperparameter | optax.GradientTransformation,
    lambd: Hyperparameter,
    alpha: Hyperparameter,
    t0: Hyperparameter,
) -> optax.GradientTransformationExtraArgs:
    held = hold(learning_rate)

    def init(params: optax.Params) -> ASGDState:
        check_trainable(params)
        step = jnp.zeros((len(jax.tree.leaves(params)),), jnp.float32)
        zeros = as_scalars(step, params)
        return ASGDState(jnp.zeros((), jnp.int32), held.init(), step, zeros, zeros, zeros_like(params))

    def update(
        updates: optax.Updates, state: ASGDState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, ASGDState]:
        if params is None:
            raise ValueError("asgd needs the parameters: call tx.update(grads, state, params)")
        has_gradient = with_gradient(updates, state.ax)
        step = state.step + has_gradient
        lr, rate = held.update(state.rate, state.count, extra_args)
        numbers = (number_or_double(x, state.count) for x in (lambd, alpha, t0))
        old_eta, old_mu = as_vector(state.eta), as_vector(state.mu)
        with doubles():
            (eta, mu), sizes = _step_sizes(step, old_eta, old_mu, lr, *numbers)
        dtypes = [compute_dtype(ax.real.dtype) for ax in jax.tree.leaves(state.ax)]
        corrections = corrections_for(dtypes, *sizes)

        def step_leaf(i: int, p: jax.Array, g: jax.Array, ax: jax.Array) -> tuple[Any, ...]:
            new, ax = _single_tensor_asgd(p, g, ax, corrections=corrections[i])
            return replacing(p, new), ax

        updates, (ax,) = step_leaves(step_leaf, updates, params, (state.ax,))
        eta, mu = (
            as_scalars(jnp.where(has_gradient == 1, new, old), state.ax) for new, old in ((eta, old_eta), (mu, old_mu))
        )
        return updates, ASGDState(optax.safe_increment(state.count), rate, step, eta, mu, ax)

    return optax.GradientTransformationExtraArgs(init, update)


@jax.jit
def _step_sizes(
    step: jax.Array,
    eta: jax.Array,
    mu: jax.Array,
    lr: jax.Array,
    lambd: ArrayLike,
    alpha: ArrayLike,
    t0: ArrayLike,
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, ...]]:
    """Of each parameter the next eta and mu, in float32; and in float64 the decay, the step size and the weight now."""
    eta = jnp.where(step == 1, lr.astype(jnp.float32), eta).astype(jnp.float64)
    mu = jnp.where(step == 1, 1, mu)
    step = step.astype(jnp.float64)
    slow = power(1 + rounded(lambd * lr * step), not_constant(jnp.asarray(alpha, jnp.float64), step))
    following = (lr / slow).astype(jnp.float32), (1 / jnp.maximum(1, step - t0)).astype(jnp.float32)
    return following, (1 - rounded(lambd * eta), -eta, mu.astype(jnp.float64))


@per_leaf
def _single_tensor_asgd(*leaves: jax.Array, **hyperparameters: Any) -> tuple[Any, ...]:
    return by_parts(functools.partial(_asgd, **hyperparameters), *leaves)


def _asgd(param: jax.Array, grad: jax.Array, ax: jax.Array, *, corrections: jax.Array) -> tuple[jax.Array, ...]:
    """One real leaf, as torch's function goes: the new parameter and the average."""
    decay, step_size, mu = corrections[0], corrections[1], corrections[2]
    param = mul(param.astype(compute_dtype(param.dtype)), decay)
    param = written(add_to_rounded(param, rounded(grad), alpha=step_size), param)
    average = ax + mul(param - ax, mu).astype(ax.dtype)
    return param, written(jnp.where(mu == 1, param, average).astype(ax.dtype))
