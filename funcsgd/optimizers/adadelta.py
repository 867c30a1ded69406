"""torch.optim.Adadelta, for its for-loop and foreach implementations."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic import SquareRoot, addcmul, as_root, by_parts, compute_dtype, div, mul, rounded, written
from funcsgd.arithmetic import sqrt as torch_sqrt
from funcsgd.arithmetic.float64_words import doubles
from funcsgd.hyperparameters import Hyperparameter, check_at_least_zero, check_scalar, check_unit_interval
from funcsgd.optimizers.bias_correction import cast
from funcsgd.optimizers.held_rate import hold, number_or_double
from funcsgd.optimizers.leaves import step_leaves, with_gradient
from funcsgd.per_leaf import check_trainable, per_leaf, zeros_like
from funcsgd.stages.learning_rate import moved
from funcsgd.stages.weight_decay import add_weight_decay


class AdadeltaState(NamedTuple):
    """State of `adadelta`, under torch's names.

    Attributes:
        count: int32 scalar, the number of updates made, at which schedules are evaluated.
        rate: the learning rate, as a double; `get_learning_rate` and `set_learning_rate` find it.
        step: float32, shape ``(n_leaves,)`` in the order of ``jax.tree.leaves(square_avg)``: the number of gradients
            that each parameter has had.
        square_avg: tree, shapes and dtypes of the parameters: average of the gradients' squares; of complex ones by
            parts.
        acc_delta: likewise, average of the squares of the steps, before the learning rate.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name, in place of tuple.count
    rate: Any
    step: jax.Array
    square_avg: optax.Updates
    acc_delta: optax.Updates


def adadelta(
    learning_rate: Hyperparameter | optax.GradientTransformation = 1.0,
    rho: Hyperparameter = 0.9,
    eps: ArrayLike = 1e-6,
    weight_decay: Hyperparameter = 0.0,
    maximize: bool = False,
    *,
    sqrt: str | SquareRoot = "correct",
) -> optax.GradientTransformationExtraArgs:
    """Adadelta, equal to ``torch.optim.Adadelta`` in every bit.

    Equation, for each parameter ``p`` with gradient ``g``::

        g = -g                                                       if maximize
        g = g + weight_decay * p                                     if weight_decay != 0
        v = fl(rho * v) + fl((1 - rho) * g) * g
        d = fl(fl(sqrt(a + eps) / sqrt(v + eps)) * g)
        a = fl(rho * a) + fl((1 - rho) * d) * d
        p = p - learning_rate * d                                    by optax.apply_updates, in the same jit

    Args:
        learning_rate: non-negative scalar (number, 0-d array, tracer), or a schedule of the update count, from 0; or a
            last stage that holds it as a double, such as `scale_by_schedulers`.
        rho: scalar in [0, 1] or schedule: the decay of both averages.
        eps: non-negative scalar, inside of both roots.
        weight_decay: non-negative scalar or schedule, coupled: it enters the averages.
        maximize: climb instead of descend.
        sqrt: which square root the torch has that is to be equalled, as in `adam`.

    Returns:
        An ``optax.chain``, whose last state is an `AdadeltaState`. Its ``update`` needs ``params`` when there is weight
        decay. A gradient of None leaves its parameter, its averages and its step count as they are.

    Raises:
        ValueError: at construction, in torch's order and with torch's messages.

    Exactness: that of `adam`, but complex64 against torch's for-loop alone, with and without weight decay: it rounds
    the last product on its own, where foreach does not.

    Source: ``torch/optim/adadelta.py``, ``_single_tensor_adadelta``, torch 2.13.0.

    Differs from ``torch.optim.Adadelta`` in: what a schedule or a tracer brings is not checked.

    Differs from ``optax.adadelta`` in: (1) its weight decay is decoupled, this is coupled; (2) maximize; (3) torch's
    roundings; (4) gradients of None.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = adadelta(rho=0.75, eps=0.25)
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = tx.update(jnp.array([0.0, 2.0]), tx.init(params), params)
        >>> [round(float(u), 6) for u in updates]  # sqrt(0.25) / sqrt(1.25) * 2
        [-0.0, -0.894427]
    """
    if not isinstance(learning_rate, optax.GradientTransformation):
        check_scalar("lr", learning_rate)
        check_at_least_zero("Invalid learning rate", learning_rate)
    check_scalar("rho", rho)
    check_unit_interval("Invalid rho value: {}", rho)
    check_at_least_zero("Invalid epsilon value", eps)
    check_at_least_zero("Invalid weight_decay value", weight_decay)
    return optax.chain(
        optax.scale(-1.0) if maximize else optax.identity(),
        add_weight_decay(weight_decay),
        _step_by_adadelta(learning_rate, rho, eps, as_root(sqrt)),
    )


def _step_by_adadelta(
    learning_rate: Hyperparameter | optax.GradientTransformation,
    rho: Hyperparameter,
    eps: ArrayLike,
    root: SquareRoot,
) -> optax.GradientTransformationExtraArgs:
    held = hold(learning_rate)

    def init(params: optax.Params) -> AdadeltaState:
        check_trainable(params)
        step = jnp.zeros((len(jax.tree.leaves(params)),), jnp.float32)
        return AdadeltaState(jnp.zeros((), jnp.int32), held.init(), step, zeros_like(params), zeros_like(params))

    def update(
        updates: optax.Updates, state: AdadeltaState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, AdadeltaState]:
        step = state.step + with_gradient(updates, state.square_avg)
        lr, rate = held.update(state.rate, state.count, extra_args)
        decay = number_or_double(rho, state.count)
        with doubles():
            weight, step_size = 1 - decay, -lr

        def step_leaf(i: int, p: jax.Array | None, g: jax.Array, *averages: jax.Array) -> tuple[Any, ...]:
            del i
            dtype = compute_dtype(g.real.dtype)
            delta, *new = _single_tensor_adadelta(
                g, *averages, rho=cast(decay, dtype), weight=cast(weight, dtype), eps=eps, root=root
            )
            return moved(delta, p, cast(step_size, dtype)), *new

        updates, averages = step_leaves(step_leaf, updates, params, (state.square_avg, state.acc_delta))
        return updates, AdadeltaState(optax.safe_increment(state.count), rate, step, *averages)

    return optax.GradientTransformationExtraArgs(init, update)


@per_leaf
def _single_tensor_adadelta(*leaves: jax.Array, **hyperparameters: Any) -> tuple[Any, ...]:
    return by_parts(functools.partial(_adadelta, **hyperparameters), *leaves)


def _adadelta(
    grad: jax.Array,
    square_avg: jax.Array,
    acc_delta: jax.Array,
    *,
    rho: ArrayLike,
    weight: ArrayLike,
    eps: ArrayLike,
    root: SquareRoot,
) -> tuple[jax.Array, ...]:
    """One real leaf, as torch's function goes: what the parameter moves along, then the averages."""
    grad = rounded(grad)
    square_avg = written(addcmul(mul(square_avg, rho), grad, grad, value=weight), grad)
    std = torch_sqrt(square_avg + jnp.asarray(eps, grad.dtype), root)
    delta = torch_sqrt(acc_delta + jnp.asarray(eps, grad.dtype), root)
    delta = written(mul(div(delta, std), grad))
    acc_delta = written(addcmul(mul(acc_delta, rho), delta, delta, value=weight), delta)
    return delta, square_avg, acc_delta
