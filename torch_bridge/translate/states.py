"""torch's state in an optax state: found by the names of fields, read and written, wherever it is nested."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from funcsgd.averages import AverageState
from torch_bridge.translate.optimizers import Adapter


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


def torch_state(opt_state: optax.OptState, params: Any, adapter: Adapter) -> dict[str, Any]:
    """Return what a state holds under torch's keys.

    Args:
        opt_state: any optax state. Fields with torch's keys are searched in it, and those of optax's own rules
            that hold the same, see `Adapter.optax_fields`.
        params: the parameters that the state was made for.
        adapter: of torch's optimizer.

    Returns:
        Key -> tree with the structure of ``params``, None at leaves that have no such state; of ``"step"`` float32
        scalars. And ``"started"``: bool scalars, whether torch would have a state there by now. Keys of which there is
        nothing are left out.
    """
    found: dict[str, list[Any]] = {}
    structure: Any = jax.tree.structure(params)
    for node in _holders(opt_state, adapter):
        trees = {key: tree for key, tree in _fields(node, adapter).items() if _is_like(structure, tree)}
        if not trees:
            continue
        like = next(iter(trees.values()))
        if (step := _steps(node, like, structure)) is not None:
            found.setdefault("step", []).append(step)
        found.setdefault("started", []).append(_started(node, like, structure, step))
        for key, tree in trees.items():
            found.setdefault(key, []).append(tree)
    return {key: merge(params, trees) for key, trees in found.items()}


def with_torch_state(
    opt_state: optax.OptState, params: Any, adapter: Adapter, values: Mapping[str, Any]
) -> optax.OptState:
    """Return ``opt_state`` with torch's state in it.

    Args:
        opt_state: any optax state, see `torch_state`.
        params: the parameters that the state was made for.
        adapter: of torch's optimizer.
        values: torch's key -> tree with the structure of ``params``; None at leaves where torch has no state yet, and
            where that of ``opt_state`` stays: a rule may begin with other numbers than zeros. Keys that are left out
            stay as they are.
    """
    structure: Any = jax.tree.structure(params)
    given = {key: structure.flatten_up_to(tree) for key, tree in values.items()}

    def replace(node: Any) -> Any:
        if not _is_holder(node, adapter):
            return node
        changed: dict[str, Any] = {}
        mine = [True] * structure.num_leaves
        for field, key in _names(node, adapter).items():
            tree = getattr(node, field)
            if key not in given or not _is_like(structure, tree):
                continue
            old = structure.flatten_up_to(tree)
            mine = [not isinstance(leaf, optax.MaskedNode) for leaf in old]
            new = [_entered(was, value) for was, value in zip(old, given[key], strict=True)]
            changed[field] = jax.tree.unflatten(structure, new)
            if "started" in node._fields:
                flags = tuple(jnp.array(value is not None) for value, own in zip(given[key], mine, strict=True) if own)
                changed["started"] = flags or node.started
        if changed and "step" in given:
            steps = [0 if step is None else step for step, own in zip(given["step"], mine, strict=True) if own]
            if "step" in node._fields:
                changed["step"] = jnp.asarray(steps, jnp.float32) if steps else node.step
            elif "count" in node._fields and steps:  # optax counts once for all
                changed["count"] = jnp.max(jnp.asarray(steps)).astype(node.count.dtype)
        return node._replace(**changed)

    return jax.tree.map(replace, opt_state, is_leaf=lambda node: _is_holder(node, adapter))


def _names(node: Any, adapter: Adapter) -> dict[str, str]:
    """Fields of a state that hold trees of torch's state -> torch's keys."""
    known = {key: key for key in adapter.state if key != "step"} | dict(adapter.optax_fields)
    return {field: known[field] for field in node._fields if field in known}


def _is_holder(node: Any, adapter: Adapter) -> bool:
    return isinstance(node, tuple) and hasattr(node, "_fields") and bool(_names(node, adapter))


def _holders(opt_state: optax.OptState, adapter: Adapter) -> list[Any]:
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: _is_holder(node, adapter))
    return [node for node in nodes if _is_holder(node, adapter)]


def _fields(node: Any, adapter: Adapter) -> dict[str, Any]:
    return {key: getattr(node, field) for field, key in _names(node, adapter).items()}


def _steps(node: Any, like: Any, structure: Any) -> Any:
    """The number of gradients that each parameter has had; None if the state has no count."""
    leaves = structure.flatten_up_to(like)
    if "step" in node._fields:
        steps = iter([node.step[i] for i in range(node.step.shape[0])])
    elif "count" in node._fields and "started" not in node._fields:
        steps = iter([jnp.asarray(node.count, jnp.float32)] * len(leaves))
    else:
        return None
    return jax.tree.unflatten(
        structure, [leaf if isinstance(leaf, optax.MaskedNode) else next(steps) for leaf in leaves]
    )


def _started(node: Any, like: Any, structure: Any, step: Any) -> Any:
    """Whether each parameter has a state: by its flag, by its count, or always, for a state with neither."""
    if step is not None:
        return jax.tree.map(lambda count: count > 0, step)
    leaves = structure.flatten_up_to(like)
    own = iter(node.started if "started" in node._fields else [jnp.array(True)] * len(leaves))
    return jax.tree.unflatten(structure, [leaf if isinstance(leaf, optax.MaskedNode) else next(own) for leaf in leaves])


def _entered(old: Any, value: Any) -> Any:
    """An array of torch's in place of a state's, in its dtype."""
    if isinstance(old, optax.MaskedNode) or old is None or value is None:
        return old
    return jnp.asarray(value, old.dtype)


def with_averages(opt_state: optax.OptState, averages: Any) -> optax.OptState:
    """Return ``opt_state`` with the average that `funcsgd.averages.with_average` keeps replaced; its counts stay."""

    def replace(node: Any) -> Any:
        return node._replace(average=averages) if isinstance(node, AverageState) else node

    return jax.tree.map(replace, opt_state, is_leaf=lambda node: isinstance(node, AverageState))


def hyperparameters(opt_state: optax.OptState, adapter: Adapter) -> dict[str, list[jax.Array]]:
    """Return the numbers of a rule that ``optax.inject_hyperparams`` keeps in a state.

    Args:
        opt_state: any optax state.
        adapter: of torch's optimizer; its learning rate is left out, see `funcsgd.get_learning_rate`.

    Returns:
        Quantity -> scalars, in the order of the state, as far as they are there.
    """
    values: dict[str, list[jax.Array]] = {}
    for node in _with_field(opt_state, "hyperparams"):
        for number in adapter.numbers:
            for name in number.optax:
                # "decay" is what several of optax's stages call their factor: it is read beside the state it acts on.
                if name in node.hyperparams and (name != "decay" or _holders(node.inner_state, adapter)):
                    values.setdefault(number.quantity, []).append(jnp.asarray(node.hyperparams[name]))
                    break
    return values


def _with_field(opt_state: optax.OptState, field: str) -> list[Any]:
    """Named tuples with a field, outermost first; what they hold is searched too."""

    def is_it(node: Any) -> bool:
        return isinstance(node, tuple) and field in getattr(node, "_fields", ())

    found = []
    for node in jax.tree.leaves(opt_state, is_leaf=is_it):
        if is_it(node):
            found.append(node)
            for inner in node:
                found += _with_field(inner, field)
    return found


def _is_like(structure: Any, tree: Any) -> bool:
    try:
        structure.flatten_up_to(tree)
    except (TypeError, ValueError):
        return False
    return True
