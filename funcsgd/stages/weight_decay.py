"""Coupled weight decay: the gradient of ``weight_decay / 2 * |p|**2``, added before the gradient enters momentum."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic import add, by_parts
from funcsgd.hyperparameters import Hyperparameter, check_nonnegative, check_scalar, is_zero, value_at
from funcsgd.observation import shown
from funcsgd.per_leaf import per_leaf, present, with_tangent_of


class AddWeightDecayState(NamedTuple):
    """State of `add_weight_decay` with a schedule; with a number or an array it is ``optax.EmptyState``.

    Attributes:
        count: int32 scalar, the number of updates made.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name, in place of tuple.count


def add_weight_decay(
    weight_decay: Hyperparameter, mask: Any | Callable[[optax.Params], Any] | None = None
) -> optax.GradientTransformationExtraArgs:
    """Add the parameters, scaled, to the gradients: coupled L2 regularisation.

    Equation::

        g = fl(g + weight_decay * p)        one rounding; skipped where weight_decay is 0

    Args:
        weight_decay: non-negative scalar (number, 0-d array, tracer) or a schedule of the update count, from 0.
        mask: None decays every leaf. Otherwise a pytree of bools (or a prefix of one), or a function of the
            parameters that returns it; leaves marked False pass unchanged.

    Returns:
        A transformation, without state of its own unless there is a schedule. Its ``update`` needs ``params``. A
        gradient that is None stays None, as torch skips a parameter whose ``grad`` is None.

    Raises:
        ValueError: at construction for a negative or non-scalar value; in ``update`` when ``params`` is missing.

    Exactness: bitwise for float32 and float64 under ``jit``; complex64 bitwise for finite values; bfloat16 and
    float16 are calculated in float32 and rounded once (`rounding`).

    Source: ``torch/optim/sgd.py``, ``_single_tensor_sgd``, torch 2.13.0: ``grad.add(param, alpha=weight_decay)``.

    Differs from ``optax.add_decayed_weights`` in: (1) a traced zero leaves the gradient untouched, signed zeros and
    infinite parameters included; (2) a gradient that is itself a product in the same program is rounded first.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = add_weight_decay(0.5)
        >>> tx.update(jnp.array([1.0]), tx.init(jnp.array([4.0])), jnp.array([4.0]))[0]
        Array([3.], dtype=float32)
    """
    transformation = coupled_decay(weight_decay)
    return transformation if mask is None else optax.masked(transformation, mask)


def coupled_decay(weight_decay: Hyperparameter, *, parts: bool = False) -> optax.GradientTransformationExtraArgs:
    """`add_weight_decay` of every leaf.

    Args:
        weight_decay: as there.
        parts: of complex leaves round once for each part, as torch's rules do that view them as real ones before.
    """
    check_scalar("weight_decay", weight_decay)
    check_nonnegative("Invalid weight_decay value", weight_decay)

    def init(params: optax.Params) -> optax.EmptyState | AddWeightDecayState:
        del params
        return AddWeightDecayState(jnp.zeros((), jnp.int32)) if callable(weight_decay) else optax.EmptyState()

    def update(
        updates: optax.Updates,
        state: optax.EmptyState | AddWeightDecayState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, optax.EmptyState | AddWeightDecayState]:
        del extra_args
        if is_zero(weight_decay):
            return shown("weight_decay", updates), state
        if params is None:
            raise ValueError("add_weight_decay needs the parameters: call tx.update(grads, state, params)")
        alpha: Any = weight_decay
        if isinstance(state, AddWeightDecayState):
            alpha = value_at(weight_decay, state.count)
            state = AddWeightDecayState(optax.safe_increment(state.count))

        def decay(g: jax.Array | None, p: jax.Array) -> jax.Array | None:
            return None if g is None else _decayed(g, p, weight_decay=alpha, parts=parts)

        decayed = jax.tree.map(decay, present(updates), params, is_leaf=lambda g: g is None)
        return shown("weight_decay", decayed), state

    return optax.GradientTransformationExtraArgs(init, update)


@per_leaf
def _decayed(g: jax.Array, p: jax.Array, *, weight_decay: ArrayLike, parts: bool) -> jax.Array:
    if parts and jnp.iscomplexobj(g):
        together: jax.Array = by_parts(
            lambda g, p: (_decayed(g, p, weight_decay=weight_decay, parts=False),), g, p.astype(g.dtype)
        )[0]
        return together
    decayed = add(g, p.astype(g.dtype), alpha=weight_decay)
    if isinstance(weight_decay, int | float):
        return decayed
    return with_tangent_of(jnp.where(weight_decay == 0, g, decayed), decayed)
