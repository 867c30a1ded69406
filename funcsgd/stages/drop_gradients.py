"""Parameters that rest: what ``requires_grad_(False)`` does to an optimizer."""

from typing import Any

import jax
import optax


def drop_gradients(mask: Any) -> optax.GradientTransformationExtraArgs:
    """Take the gradients of some parameters away: the first stage of a rule.

    Equation, for each parameter::

        g = None if frozen else g

    Every rule of this library leaves a parameter without a gradient alone, as torch does: every bit of it and of its
    momentum buffer, which resumes when the parameter thaws. Weight decay does not reach it, and it counts for nothing
    in a total norm. Only an average goes on to follow it.

    Args:
        mask: a tree of bools like the parameters, or like the top of their tree; True for what is frozen.

    Returns:
        A transformation without state. ``update`` needs ``params`` in the stages behind it.

    Exactness: bitwise.

    Source: ``torch/optim/optimizer.py``: a parameter whose ``grad`` is None is passed over, torch 2.13.0.

    Differs from ``optax.freeze`` in: a gradient of None, not of 0, which momentum and weight decay would turn into a
    step.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from funcsgd import sgd
        >>> tx = optax.chain(drop_gradients({"w": False, "b": True}), sgd(0.5, weight_decay=0.5))
        >>> params = {"w": jnp.array([2.0]), "b": jnp.array([2.0])}
        >>> updates, _ = tx.update(params, tx.init(params), params)
        >>> optax.apply_updates(params, updates)
        {'b': Array([2.], dtype=float32), 'w': Array([0.5], dtype=float32)}
    """

    def kept(frozen: bool, gradients: Any) -> Any:
        return jax.tree.map(lambda _: None, gradients) if frozen else gradients

    stage = optax.stateless(lambda updates, params: jax.tree.map(kept, mask, updates))
    return optax.with_extra_args_support(stage)
