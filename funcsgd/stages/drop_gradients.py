"""Frozen parameters, with the effect of ``requires_grad_(False)`` on an optimizer."""

from typing import Any

import jax
import optax


def drop_gradients(mask: Any) -> optax.GradientTransformationExtraArgs:
    """Replace the gradients of some parameters by None: the first stage of a rule.

    Equation, for each parameter::

        g = None if frozen else g

    Every rule of this library leaves a parameter without a gradient unchanged, as torch does, and its state too, from
    which it resumes when it is thawed. Weight decay is not applied to it, and it adds nothing to a total norm. An
    average still includes it.

    Args:
        mask: a tree of bools with the structure of the parameters, or a prefix of it; True for frozen parameters.

    Returns:
        A transformation without state. ``update`` needs ``params`` in the stages behind it.

    Exactness: bitwise.

    Source: ``torch/optim/optimizer.py``: a parameter whose ``grad`` is None is skipped, torch 2.13.0.

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
