"""torch.optim.Rprop, for its for-loop and foreach implementations."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic import by_parts, compute_dtype, rounded, written
from funcsgd.arithmetic.float64_words import doubles
from funcsgd.hyperparameters import Hyperparameter, check_at_least_zero, check_etas, check_scalar
from funcsgd.optimizers.bias_correction import corrections_for
from funcsgd.optimizers.held_rate import hold
from funcsgd.optimizers.leaves import step_leaves, with_gradient
from funcsgd.per_leaf import check_trainable, per_leaf, zeros_like


class RpropState(NamedTuple):
    """State of `rprop`, under torch's names.

    Attributes:
        count: int32 scalar, the number of updates made, at which schedules are evaluated.
        rate: the learning rate, as a double; `get_learning_rate` and `set_learning_rate` find it.
        step: float32, shape ``(n_leaves,)`` in the order of ``jax.tree.leaves(prev)``: the number of gradients that
            each parameter has had.
        prev: tree, shapes and dtypes of the parameters: the gradient before, 0 where the sign had changed.
        step_size: likewise, how far each element moves; 0, and not yet used, before the parameter's first gradient.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name, in place of tuple.count
    rate: Any
    step: jax.Array
    prev: optax.Updates
    step_size: optax.Updates


def rprop(
    learning_rate: Hyperparameter | optax.GradientTransformation = 1e-2,
    etas: tuple[ArrayLike, ArrayLike] = (0.5, 1.2),
    step_sizes: tuple[ArrayLike, ArrayLike] = (1e-6, 50),
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Rprop, steps by the signs of whole-batch gradients, equal to ``torch.optim.Rprop`` in every bit.

    Equation, for each element of a parameter ``p`` with gradient ``g``, ``h`` the gradient before (at first 0), ``s``
    its step size (at first the learning rate)::

        g = -g                                                       if maximize
        e = etas[1] if fl(g * h) > 0, etas[0] if < 0, otherwise 1
        s = fl(s * e), not less than step_sizes[0], not more than step_sizes[1]
        g = 0                                                        where e is etas[0]
        p = p - sign(g) * s                                          by optax.apply_updates
        h = g

    Args:
        learning_rate: non-negative scalar (number, 0-d array, tracer), or a schedule of the update count, from 0; or a
            last stage that holds it as a double, such as `scale_by_schedulers`. It counts at a parameter's first
            gradient alone, as in torch.
        etas: factors on a step size where the sign of the gradient has changed, in (0, 1), and where not, above 1.
        step_sizes: smallest and largest step size.
        maximize: climb instead of descend.

    Returns:
        An ``optax.chain``, whose last state is a `RpropState`. A gradient of None leaves its parameter, its state and
        its step count as they are.

    Raises:
        ValueError: at construction, in torch's order and with torch's messages.

    Exactness: bitwise for float32, float64 and complex64 under ``jit``, against torch's for-loop and foreach
    implementations: no sum in it has a product to be fused with. One difference is that of every XLA program on a CPU:
    a product ``g * h`` below the smallest normal number is 0, where torch's has a sign.

    Source: ``torch/optim/rprop.py``, ``_single_tensor_rprop``, torch 2.13.0.

    Differs from ``torch.optim.Rprop`` in: what a schedule or a tracer brings is not checked.

    Differs from ``optax.rprop`` in: (1) the first update moves by the learning rate, optax's not at all, so that
    everything later is a step ahead; (2) maximize; (3) gradients of None.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = rprop(0.5)
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = tx.update(jnp.array([0.25, -3.0]), tx.init(params), params)
        >>> [float(u) for u in updates]
        [-0.5, 0.5]
        >>> updates, state = tx.update(jnp.array([0.25, 3.0]), state, params)
        >>> [round(float(u), 6) for u in updates]  # the second sign has changed: it waits, and its step is halved
        [-0.6, -0.0]
    """
    if not isinstance(learning_rate, optax.GradientTransformation):
        check_scalar("lr", learning_rate)
        check_at_least_zero("Invalid learning rate", learning_rate)
    check_etas(etas)
    return optax.chain(
        optax.scale(-1.0) if maximize else optax.identity(), _step_by_rprop(learning_rate, etas, step_sizes)
    )


def _step_by_rprop(
    learning_rate: Hyperparameter | optax.GradientTransformation,
    etas: tuple[ArrayLike, ArrayLike],
    step_sizes: tuple[ArrayLike, ArrayLike],
) -> optax.GradientTransformationExtraArgs:
    held = hold(learning_rate)

    def init(params: optax.Params) -> RpropState:
        check_trainable(params)
        step = jnp.zeros((len(jax.tree.leaves(params)),), jnp.float32)
        return RpropState(jnp.zeros((), jnp.int32), held.init(), step, zeros_like(params), zeros_like(params))

    def update(
        updates: optax.Updates, state: RpropState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, RpropState]:
        lr, rate = held.update(state.rate, state.count, extra_args)
        dtypes = [compute_dtype(prev.real.dtype) for prev in jax.tree.leaves(state.prev)]
        with doubles():
            rates = jnp.broadcast_to(lr, state.step.shape)
        initial = corrections_for(dtypes, rates, state.step)

        def step_leaf(i: int, p: jax.Array | None, g: jax.Array, *old: jax.Array) -> tuple[Any, ...]:
            del p
            return _single_tensor_rprop(
                g,
                *old,
                initial=initial[i],
                etaminus=etas[0],
                etaplus=etas[1],
                step_size_min=step_sizes[0],
                step_size_max=step_sizes[1],
            )

        step = state.step + with_gradient(updates, state.prev)
        updates, new = step_leaves(step_leaf, updates, params, (state.prev, state.step_size))
        return updates, RpropState(optax.safe_increment(state.count), rate, step, *new)

    return optax.GradientTransformationExtraArgs(init, update)


@per_leaf
def _single_tensor_rprop(*leaves: jax.Array, **hyperparameters: Any) -> tuple[Any, ...]:
    return by_parts(functools.partial(_rprop, **hyperparameters), *leaves)


def _rprop(
    grad: jax.Array,
    prev: jax.Array,
    step_size: jax.Array,
    *,
    initial: jax.Array,
    etaminus: ArrayLike,
    etaplus: ArrayLike,
    step_size_min: ArrayLike,
    step_size_max: ArrayLike,
) -> tuple[jax.Array, ...]:
    """One real leaf, as torch's function goes: the update, then what the state holds.

    ``initial`` is the step size at a parameter's first gradient, and how many gradients it has had.
    """
    dtype = grad.dtype
    minus, plus, smallest, largest = (jnp.asarray(x, dtype) for x in (etaminus, etaplus, step_size_min, step_size_max))
    step_size = jnp.where(initial[1] == 0, initial[0].astype(dtype), step_size)
    sign = rounded(grad * prev)  # which may be NaN: that is no sign in torch
    sign = jnp.where(sign > 0, plus, jnp.where(sign < 0, minus, jnp.ones_like(sign)))
    step_size = jnp.minimum(jnp.maximum(rounded(step_size * sign), smallest), largest)
    grad = jnp.where(sign == minus, jnp.zeros_like(grad), grad)
    direction = (grad > 0).astype(dtype) - (grad < 0).astype(dtype)
    return -(direction * step_size), written(grad), written(step_size)
