"""torch.optim.Adagrad, for its for-loop and foreach implementations."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic import SquareRoot, addcmul, as_root, by_parts, compute_dtype, quotient, rounded, written
from funcsgd.arithmetic import sqrt as torch_sqrt
from funcsgd.arithmetic.float64_words import doubles
from funcsgd.hyperparameters import Hyperparameter, check_at_least_zero, check_scalar
from funcsgd.optimizers.bias_correction import corrections_for
from funcsgd.optimizers.held_rate import hold, number_or_double
from funcsgd.optimizers.leaves import step_leaves, with_gradient
from funcsgd.per_leaf import check_trainable, per_leaf
from funcsgd.stages.weight_decay import add_weight_decay


class AdagradState(NamedTuple):
    """State of `adagrad`, under torch's names.

    Attributes:
        count: int32 scalar, the number of updates made, at which schedules are evaluated.
        rate: the learning rate, as a double; `get_learning_rate` and `set_learning_rate` find it.
        step: float32, shape ``(n_leaves,)`` in the order of ``jax.tree.leaves(sum)``: the number of gradients that each
            parameter has had.
        sum: tree, shapes and dtypes of the parameters: sum of the gradients' squares; of complex ones by parts.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name, in place of tuple.count
    rate: Any
    step: jax.Array
    sum: optax.Updates


def adagrad(
    learning_rate: Hyperparameter | optax.GradientTransformation = 1e-2,
    lr_decay: Hyperparameter = 0.0,
    weight_decay: Hyperparameter = 0.0,
    initial_accumulator_value: ArrayLike = 0.0,
    eps: ArrayLike = 1e-10,
    maximize: bool = False,
    *,
    sqrt: str | SquareRoot = "correct",
) -> optax.GradientTransformationExtraArgs:
    """Adagrad, equal to ``torch.optim.Adagrad`` in every bit.

    Equation, for each parameter ``p`` with gradient ``g``, at its ``t``-th gradient, from 1::

        g = -g                                                       if maximize
        g = g + weight_decay * p                                     if weight_decay != 0
        s = s + g * g                                                from initial_accumulator_value
        p = p + fl(-learning_rate / (1 + (t - 1) * lr_decay) * g) / (sqrt(s) + eps)
                                                                     by optax.apply_updates

    What contains ``t`` is calculated in float64 and rounded once, with and without JAX's 64-bit mode.

    Args:
        learning_rate: non-negative scalar (number, 0-d array, tracer), or a schedule of the update count, from 0; or a
            last stage that holds it as a double, such as `scale_by_schedulers`.
        lr_decay: non-negative scalar or schedule: how fast the steps shorten apart from the sum.
        weight_decay: non-negative scalar or schedule, coupled: it enters the sum.
        initial_accumulator_value: non-negative scalar, where the sum begins; of complex parameters in both parts.
        eps: non-negative scalar, added to the root.
        maximize: climb instead of descend.
        sqrt: which square root the torch has that is to be equalled, as in `adam`.

    Returns:
        An ``optax.chain``, whose last state is an `AdagradState`. Its ``update`` needs ``params`` when there is weight
        decay. A gradient of None leaves its parameter, its sum and its step count as they are.

    Raises:
        ValueError: at construction, in torch's order and with torch's messages.

    Exactness: that of `adam`.

    Source: ``torch/optim/adagrad.py``, ``_single_tensor_adagrad``, torch 2.13.0.

    Differs from ``torch.optim.Adagrad`` in: (1) gradients are dense; (2) what a schedule or a tracer brings is not
    checked.

    Differs from ``optax.adagrad`` in: (1) the sum begins at 0, optax's at 0.1; (2) ``eps`` is outside of the root;
    (3) lr_decay, coupled weight decay and maximize; (4) torch's roundings; (5) gradients of None.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = adagrad(0.5)
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = tx.update(jnp.array([0.5, 3.0]), tx.init(params), params)
        >>> [round(float(u), 6) for u in updates]  # the first step is the learning rate, whatever the gradient
        [-0.5, -0.5]
    """
    if not isinstance(learning_rate, optax.GradientTransformation):
        check_scalar("lr", learning_rate)
        check_at_least_zero("Invalid learning rate", learning_rate)
    for name, value in (
        ("lr_decay", lr_decay),
        ("weight_decay", weight_decay),
        ("initial_accumulator_value", initial_accumulator_value),
    ):
        check_scalar(name, value)
        check_at_least_zero(f"Invalid {name} value", value)
    check_at_least_zero("Invalid epsilon value", eps)
    return optax.chain(
        optax.scale(-1.0) if maximize else optax.identity(),
        add_weight_decay(weight_decay),
        _step_by_adagrad(learning_rate, lr_decay, initial_accumulator_value, eps, as_root(sqrt)),
    )


def _step_by_adagrad(
    learning_rate: Hyperparameter | optax.GradientTransformation,
    lr_decay: Hyperparameter,
    initial_accumulator_value: ArrayLike,
    eps: ArrayLike,
    root: SquareRoot,
) -> optax.GradientTransformationExtraArgs:
    held = hold(learning_rate)

    def initial(p: jax.Array) -> Any:
        return by_parts(lambda part: (jnp.full_like(part, initial_accumulator_value),), p)[0]

    def init(params: optax.Params) -> AdagradState:
        check_trainable(params)
        step = jnp.zeros((len(jax.tree.leaves(params)),), jnp.float32)
        return AdagradState(jnp.zeros((), jnp.int32), held.init(), step, jax.tree.map(initial, params))

    def update(
        updates: optax.Updates, state: AdagradState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, AdagradState]:
        step = state.step + with_gradient(updates, state.sum)
        lr, rate = held.update(state.rate, state.count, extra_args)
        with doubles():
            decayed = _decayed_rate(step, lr, number_or_double(lr_decay, state.count))
        dtypes = [compute_dtype(s.real.dtype) for s in jax.tree.leaves(state.sum)]
        corrections = corrections_for(dtypes, decayed)

        def step_leaf(i: int, p: jax.Array | None, g: jax.Array, state_sum: jax.Array) -> tuple[Any, ...]:
            del p
            return _single_tensor_adagrad(g, state_sum, corrections=corrections[i], eps=eps, root=root)

        updates, (state_sum,) = step_leaves(step_leaf, updates, params, (state.sum,))
        return updates, AdagradState(optax.safe_increment(state.count), rate, step, state_sum)

    return optax.GradientTransformationExtraArgs(init, update)


@jax.jit
def _decayed_rate(step: jax.Array, lr: jax.Array, lr_decay: ArrayLike) -> jax.Array:
    """``lr / (1 + (step - 1) * lr_decay)`` of each parameter, in float64."""
    step = jnp.maximum(step.astype(jnp.float64), 1)
    return lr / (1 + rounded((step - 1) * lr_decay))


@per_leaf
def _single_tensor_adagrad(*leaves: jax.Array, **hyperparameters: Any) -> tuple[Any, ...]:
    return by_parts(functools.partial(_adagrad, **hyperparameters), *leaves)


def _adagrad(
    grad: jax.Array, state_sum: jax.Array, *, corrections: jax.Array, eps: ArrayLike, root: SquareRoot
) -> tuple[jax.Array, ...]:
    """One real leaf, as torch's function goes: the update, and the sum."""
    clr = corrections[0]
    grad = rounded(grad)
    state_sum = written(addcmul(state_sum, grad, grad, value=1), grad)
    std = torch_sqrt(state_sum, root)
    std = std + jnp.asarray(eps, std.dtype)
    return quotient(grad, std, value=-clr), state_sum  # p + quotient is torch's addcdiv
