"""Where the running statistics of equinox's BatchNorm lie, beside the module, in an ``equinox.nn.State``."""

import sys
from typing import Any

import jax
import jax.numpy as jnp

_FLAGS = ("ema_first_time_index", "batch_counter")


def statistics_of(tree: Any) -> tuple[dict[int, tuple[str, ...]], dict[int, tuple[str, Any]]]:
    """Find the statistics in a pair ``(module, state)``, and the flags beside them.

    Args:
        tree: the JAX parameters.

    Returns:
        Leaf number -> the path that the statistic would have inside the module; and leaf number -> path and value of
        a flag that must be set when torch's statistics move in: ``first_time`` (else the first batch would replace
        them) and ``batch_counter`` (else they would be divided by ``1 - momentum ** counter``).
    """
    equinox = sys.modules.get("equinox")
    if equinox is None or not isinstance(tree, list | tuple):
        return {}, {}
    states = [part for part in tree if isinstance(part, equinox.nn.State)]
    if not states:
        return {}, {}
    paths: dict[Any, tuple[str, ...]] = {}
    for keys, index in jax.tree_util.tree_leaves_with_path(
        tree, is_leaf=lambda x: isinstance(x, equinox.nn.StateIndex)
    ):
        if isinstance(index, equinox.nn.StateIndex):
            paths[index.marker] = tuple(jax.tree_util.keystr((key,), simple=True) for key in keys)
    statistics: dict[int, tuple[str, ...]] = {}
    settings: dict[int, tuple[str, Any]] = {}
    number = 0
    for part in tree:
        if not isinstance(part, equinox.nn.State):
            number += len(jax.tree.leaves(part))
            continue
        for marker, values in part._state.items():
            path = paths.get(marker, (str(marker),))
            for i, value in enumerate(jax.tree.leaves(values)):
                if path[-1] in _FLAGS:
                    settings[number] = "/".join(path), _zero(value)
                elif path[-1] in ("ema_state_index", "batch_state_index"):
                    statistics[number] = (*path[:-1], ("running_mean", "running_var")[i])
                number += 1
    return statistics, settings


def _zero(value: Any) -> Any:
    """0, or False, of the same type; equinox rejects a counter that is weakly typed where the old one was not."""
    if value.dtype == bool or isinstance(value, jax.ShapeDtypeStruct):
        return jnp.zeros(value.shape, value.dtype)
    return value * 0
