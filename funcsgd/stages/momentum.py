"""Heavy-ball and Nesterov momentum in torch's form: the learning rate stays outside the buffer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic import add, add_to_rounded, compute_dtype, mul, written
from funcsgd.hyperparameters import (
    Hyperparameter,
    check_nesterov,
    check_nonnegative,
    check_scalar,
    is_zero,
    value_at,
)
from funcsgd.per_leaf import check_trainable, incremented, per_leaf, present, with_tangent_of, zeros_like


class AddMomentumState(NamedTuple):
    """State of `add_momentum`.

    Attributes:
        count: int32 scalar, the number of updates made, at which a momentum schedule is evaluated.
        started: bool scalars in the order of ``jax.tree.leaves(momentum_buffer)``: the leaf has had a gradient, and its
            buffer holds it. Per leaf, because torch starts a late parameter at its own first gradient. Scalars, because
            a place in one array would make each leaf's compiled code another; no tree like the parameters, because
            ``optax.tree_map_params`` would give it their shardings. Without leaves an empty array.
        momentum_buffer: tree, shapes and dtypes of the parameters, under torch's name; zeros before the start.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name, in place of tuple.count
    started: tuple[jax.Array, ...] | jax.Array
    momentum_buffer: optax.Updates


def add_momentum(
    momentum: Hyperparameter, dampening: ArrayLike = 0.0, nesterov: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Accumulate gradients in a buffer and step along the buffer.

    Equation, for each leaf::

        first gradient:  buffer = g                                                  undamped
        later:           buffer = fl(fl(momentum * buffer) + (1 - dampening) * g)    two roundings
        out:             g = fl(g + momentum * buffer) if nesterov else buffer

    Where ``momentum`` is 0 the gradient passes and the buffer is kept as it is, for when momentum returns. Leaves whose
    gradient is None keep theirs too.

    Args:
        momentum: non-negative scalar (number, 0-d array, tracer) or a schedule of the update count, from 0.
        dampening: scalar. A Python number is subtracted from 1 in float64, an array in its own dtype.
        nesterov: look ahead along the new buffer. Needs a positive momentum and zero dampening.

    Returns:
        A transformation with an `AddMomentumState`, whose tree, shapes and dtypes depend on the parameters alone.

    Raises:
        ValueError: at construction, with torch's messages, for values that torch refuses.

    Exactness: bitwise for float32 and float64 under ``jit``; complex64 bitwise for finite values; bfloat16 and
    float16 buffers are kept in their dtype, calculated in float32, one rounding a line (`rounding`).

    The derivative with respect to a constant momentum is right at 0 too, where dampening is 0; with dampening the rule
    jumps there, as torch's does, and has none.

    Source: ``torch/optim/sgd.py``, ``_single_tensor_sgd``, torch 2.13.0.

    Differs from ``optax.trace`` in: (1) dampening; (2) ``momentum * buffer`` is rounded before the gradient is added;
    (3) momentum may be scheduled and switched off and on; (4) a gradient of None leaves its buffer in place.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = add_momentum(0.5, dampening=0.75)
        >>> state = tx.init(jnp.array([0.0]))
        >>> first, state = tx.update(jnp.array([4.0]), state)
        >>> second, state = tx.update(jnp.array([4.0]), state)
        >>> first, second  # 4, then 0.5 * 4 + 0.25 * 4
        (Array([4.], dtype=float32), Array([3.], dtype=float32))
    """
    check_scalar("momentum", momentum)
    check_scalar("dampening", dampening)
    check_nonnegative("Invalid momentum value", momentum)
    if nesterov:
        check_nesterov(momentum, dampening)

    def init(params: optax.Params) -> AddMomentumState:
        check_trainable(params)
        started = tuple(jnp.zeros((), bool) for _ in jax.tree.leaves(params)) or jnp.zeros((0,), bool)
        return AddMomentumState(jnp.zeros((), jnp.int32), started, zeros_like(params))

    def update(
        updates: optax.Updates, state: AddMomentumState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, AddMomentumState]:
        del params, extra_args
        updates, count = present(updates), incremented(state.count)
        if is_zero(momentum):
            return updates, state._replace(count=count)
        beta = value_at(momentum, state.count)
        buffers: list[jax.Array] = jax.tree.leaves(state.momentum_buffer)
        if not buffers:
            return updates, state._replace(count=count)
        tree: Any = jax.tree.structure(state.momentum_buffer)
        leaves = [
            (g, b, s) if g is None else _leaf(g, b, s, momentum=beta, dampening=dampening, nesterov=nesterov)
            for g, b, s in zip(tree.flatten_up_to(updates), buffers, state.started, strict=True)
        ]
        outs, new_buffers, started = zip(*leaves, strict=True)
        return tree.unflatten(outs), AddMomentumState(count, started, tree.unflatten(new_buffers))

    return optax.GradientTransformationExtraArgs(init, update)


@per_leaf
def _leaf(
    g: jax.Array, buffer: jax.Array, started: jax.Array, *, momentum: ArrayLike, dampening: ArrayLike, nesterov: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    always_on = isinstance(momentum, int | float) and momentum != 0  # a schedule may return a Python 0
    on = True if always_on else jnp.asarray(momentum) != 0
    undamped = isinstance(dampening, int | float) and dampening == 0
    g = g.astype(buffer.dtype)
    # Not sums are chosen here but what goes into them: of a choice between sums compilers make two loops, with
    # roundings of their own. The first gradient is added to -0.5 times zeros, an unchanged buffer to -0.0, and adding
    # -0.0 changes no bit. (Not -1: of a choice between 1 and -1 LLVM makes a change of sign, and two loops.)
    nothing = -jnp.zeros_like(g)
    old = mul(buffer, _where(on, jnp.where(started, momentum, -0.5), 1.0))
    weight = 1 if undamped else jnp.where(started & on, 1 - dampening, 1.0)
    entering = _where(on, g, nothing)
    new = written(add_to_rounded(old, entering, alpha=weight), None if undamped else entering)
    ahead = new if always_on else written(jnp.where(on, new, nothing))
    out = add(g, ahead, alpha=momentum) if nesterov else _where(on, new, g)
    if always_on:
        return out, new, started | on
    # Just above 0 the first buffer is not at rest but g, and the next step goes momentum * g further. So of a buffer
    # that has not started, the tangent is that of momentum * g, and the next step takes it in.
    beta = jnp.asarray(momentum, compute_dtype(buffer.real.dtype))
    begun = (beta * g).astype(g.dtype)
    above = g + (begun if nesterov else jnp.where(started, (beta * buffer).astype(g.dtype), buffer))
    out = with_tangent_of(out, jnp.where(on, out, above))
    return out, with_tangent_of(new, jnp.where(on, new, jnp.where(started, buffer, begun))), started | on


def _where(on: jax.Array | bool, x: Any, y: Any) -> Any:
    return x if on is True else jnp.where(on, x, y)
