"""Arrays in place of unrounded updates, for what cannot take anything else."""

from typing import Any

import jax
import optax

from funcsgd.arithmetic import UnroundedUpdate


def round_updates() -> optax.GradientTransformationExtraArgs:
    """Round updates to arrays: the last stage of a rule whose `UnroundedUpdate` something else cannot take.

    `adamw` returns those, and within `exact_arithmetic` every rule does. ``eqx.apply_updates``,
    ``optax.apply_if_finite`` and others that look into updates need arrays.

    Equation::

        u = fl(u)          and then p = fl(p + u): two roundings

    Returns:
        A transformation without state; arrays pass as they are.

    Exactness: rounding: a parameter may differ in its last place from the one that the unrounded update leads to; with
    `adamw` where it changes its sign or more than doubles in a step.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from funcsgd import adamw
        >>> tx = optax.apply_if_finite(optax.chain(adamw(0.5, weight_decay=0.0625), round_updates()), 3)
        >>> params = jnp.array([2.0])
        >>> updates, state = tx.update(jnp.array([1.0]), tx.init(params), params)
        >>> print(updates)  # -0.5 and the decay of 0.5 * 0.0625 * 2
        [-0.5625]
    """

    def is_unrounded(u: Any) -> bool:
        return isinstance(u, UnroundedUpdate)

    def init(params: optax.Params) -> optax.EmptyState:
        del params
        return optax.EmptyState()

    def update(
        updates: optax.Updates, state: optax.EmptyState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, optax.EmptyState]:
        del params, extra_args
        return jax.tree.map(lambda u: u.high if is_unrounded(u) else u, updates, is_leaf=is_unrounded), state

    return optax.GradientTransformationExtraArgs(init, update)
