"""What an optax state holds, momentum buffers, averages and taps: found, read and written, wherever it is nested."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from funcsgd import AddMomentumState, AverageState


def nodes_of(opt_state: optax.OptState, kind: type | tuple[type, ...]) -> list[Any]:
    """Return every node of a type in a state, in the order of the state."""
    return [
        node for node in jax.tree.leaves(opt_state, is_leaf=lambda n: isinstance(n, kind)) if isinstance(node, kind)
    ]


def merge(params: Any, trees: Iterable[Any]) -> Any:
    """Return one tree with the structure of ``params`` from the partial trees that masks and partitions leave.

    Args:
        params: gives the structure.
        trees: each a tree like ``params`` with ``optax.MaskedNode`` at the leaves that are not its own.

    Returns:
        The tree; None at leaves that no partial tree has.
    """
    structure: Any = jax.tree.structure(params)
    merged: list[Any] = [None] * structure.num_leaves
    for tree in trees:
        for position, leaf in enumerate(structure.flatten_up_to(tree)):
            if not isinstance(leaf, optax.MaskedNode):
                merged[position] = leaf
    return jax.tree.unflatten(structure, merged)


_MOMENTUM = (AddMomentumState, optax.TraceState)


def _buffers(node: Any) -> Any:
    return node.buffer if isinstance(node, AddMomentumState) else node.trace


def momentum_buffers(opt_state: optax.OptState, params: Any) -> tuple[Any, Any] | None:
    """Return the momentum buffers in a state, and which of them have started.

    Args:
        opt_state: any optax state; `funcsgd.add_momentum` and ``optax.trace`` are looked for in it.
        params: the parameters that the state was made for.

    Returns:
        Two trees with the structure of ``params``: buffers, and bool scalars (always True for ``optax.trace``, which
        does not tell); None at leaves without momentum. Or None if the state holds no momentum at all.
    """
    nodes = nodes_of(opt_state, _MOMENTUM)
    if not nodes:
        return None
    return merge(params, map(_buffers, nodes)), merge(params, (_started(node, params) for node in nodes))


def _started(node: Any, params: Any) -> Any:
    structure: Any = jax.tree.structure(params)
    leaves = structure.flatten_up_to(_buffers(node))
    flags = iter(node.started if isinstance(node, AddMomentumState) else [jnp.array(True)] * len(leaves))
    return jax.tree.unflatten(
        structure, [leaf if isinstance(leaf, optax.MaskedNode) else next(flags) for leaf in leaves]
    )


def with_momentum_buffers(opt_state: optax.OptState, params: Any, buffers: Any) -> optax.OptState:
    """Return ``opt_state`` with its momentum replaced.

    Args:
        opt_state: any optax state.
        params: the parameters that the state was made for.
        buffers: a tree with the structure of ``params``; None at leaves whose buffer has not started.
    """
    structure: Any = jax.tree.structure(params)
    given = structure.flatten_up_to(buffers)

    def replace(node: Any) -> Any:
        if not isinstance(node, _MOMENTUM):
            return node
        new, started = [], []
        for old, buffer in zip(structure.flatten_up_to(_buffers(node)), given, strict=True):
            if isinstance(old, optax.MaskedNode):
                new.append(old)
                continue
            started.append(jnp.array(buffer is not None))
            new.append(jnp.zeros_like(old) if buffer is None else jnp.asarray(buffer, old.dtype))
        tree = jax.tree.unflatten(structure, new)
        if isinstance(node, AddMomentumState):
            return node._replace(buffer=tree, started=tuple(started) or node.started)
        return node._replace(trace=tree)

    return jax.tree.map(replace, opt_state, is_leaf=lambda node: isinstance(node, _MOMENTUM))


def with_averages(opt_state: optax.OptState, averages: Any) -> optax.OptState:
    """Return ``opt_state`` with the average that `funcsgd.with_average` keeps replaced; its counts rest."""

    def replace(node: Any) -> Any:
        return node._replace(average=averages) if isinstance(node, AverageState) else node

    return jax.tree.map(replace, opt_state, is_leaf=lambda node: isinstance(node, AverageState))
