"""The loop of every rule over the leaves of its trees: those without gradient are unchanged, the others stepped."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from funcsgd.arithmetic import UnroundedUpdate
from funcsgd.per_leaf import present


def with_gradient(updates: optax.Updates, like: optax.Updates) -> jax.Array:
    """Return 1 for each leaf that has a gradient and 0 for each of None: float32, in the order of ``like``'s leaves."""
    tree: Any = jax.tree.structure(like)
    return jnp.asarray([g is not None for g in tree.flatten_up_to(present(updates))], jnp.float32)


def as_vector(scalars: optax.Updates) -> jax.Array:
    """Return a tree of float32 scalars, one for each parameter, as an array of shape ``(n_leaves,)``."""
    return jnp.asarray(jax.tree.leaves(scalars), jnp.float32)


def as_scalars(vector: jax.Array, like: optax.Updates) -> optax.Updates:
    """The inverse of `as_vector`, in the structure of ``like``."""
    tree: Any = jax.tree.structure(like)
    return tree.unflatten([vector[i] for i in range(tree.num_leaves)])


def step_leaves(
    step: Callable[..., tuple[Any, ...]],
    updates: optax.Updates,
    params: optax.Params | None,
    averages: Sequence[optax.Updates | None],
) -> tuple[optax.Updates, list[optax.Updates | None]]:
    """Go over the leaves that have a gradient.

    Args:
        step: ``step(index, param, grad, *averages)`` of one leaf returns its update and its new averages. ``param`` is
            None where there are no ``params``, an average where its tree is None; ``grad`` has the dtype of the first
            average.
        updates: tree of gradients; None, or of dtype float0, for a parameter that has none.
        params: tree of parameters, or None.
        averages: the trees of a state, like the parameters; None for one that the rule does not keep.

    Returns:
        The updates: for a leaf without gradient -0.0, which changes no parameter, or None if there are no ``params``.
        And the new averages, those of a leaf without gradient as they were.
    """
    tree: Any = jax.tree.structure(averages[0])

    def leaves(like: Any) -> list[Any]:
        return [None] * tree.num_leaves if like is None else tree.flatten_up_to(like)

    ps, new = leaves(params), [leaves(average) for average in averages]
    outs: list[Any] = [None if p is None else -jnp.zeros_like(p) for p in ps]
    for i, g in enumerate(tree.flatten_up_to(present(updates))):
        if g is not None:
            old = [average[i] for average in new]
            outs[i], *values = step(i, ps[i], g.astype(old[0].dtype), *old)
            for average, value in zip(new, values, strict=True):
                average[i] = value
    kept = [None if old is None else tree.unflatten(a) for old, a in zip(averages, new, strict=True)]
    return tree.unflatten(outs), kept


def replacing(param: jax.Array, new: jax.Array) -> jax.Array | UnroundedUpdate:
    """Return the update from a parameter to the next: of a rule that rounds more than once on its way there."""
    if new.dtype != param.dtype:  # low precision: the new parameter is float32, and so is the update
        return new - param.astype(new.dtype)
    return UnroundedUpdate.replacing(param, new)
