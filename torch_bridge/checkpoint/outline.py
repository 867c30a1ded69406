"""A tree as named arrays and an outline in JSON, which together give the tree back: what every file here holds."""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_DEEPEST = 100
"""Levels of a tree; checkpoints have about ten."""
_SCALARS = (str, int, float, bool, type(None))


def flattened(tree: Any) -> tuple[dict[str, Any], Any]:
    """Take a tree apart.

    Args:
        tree: dicts, lists, tuples and any registered pytree (the states of optax and funcsgd), with arrays, numbers,
            strings and None in them. Keys are strings or numbers.

    Returns:
        Name -> array, in the order of the tree, the arrays as they are; and the outline, plain JSON. An array that
        stands in the tree twice has one name. A name is the keys on the way to it, joined by slashes.

    Raises:
        TypeError: there is something else in the tree; the message says where.
        ValueError: two keys of one dict are written alike, such as 1 and "1"; or it is nested too deeply.
    """
    arrays: dict[str, Any] = {}
    names: dict[int, str] = {}
    flat = type(tree) is dict and all(isinstance(k, str) and is_array(v) for k, v in tree.items())

    def leaf(path: tuple[Any, ...], node: Any) -> Any:
        if is_array(node):
            name = names.setdefault(id(node), path[0] if flat else name_of(path))
            arrays[name] = node
            return {"array": name}
        if isinstance(node, float):
            return {"float": float(node).hex()}
        return node

    def walk(path: tuple[Any, ...], node: Any) -> Any:
        if len(path) > _DEEPEST:
            raise ValueError(f"the tree is nested more than {_DEEPEST} deep at {name_of(path[:4])}...")
        if is_array(node) or isinstance(node, _SCALARS):
            return leaf(path, node)
        kind, items = _children(path, node)
        if kind in ("list", "tuple"):
            return {kind: [walk((*path, key), value) for key, value in items]}
        return {kind: [[leaf((), key), walk((*path, key), value)] for key, value in items]}

    return arrays, walk((), tree)


def rebuilt(arrays: Mapping[str, Any], outline: Any) -> Any:
    """Return the tree of its arrays and its outline; what was a named tuple or another node is a dict.

    Raises:
        ValueError: the outline is none, names an array that is not there, or leaves one out.
    """
    used: set[str] = set()

    def build(node: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        if isinstance(node, _SCALARS):
            return node
        if not isinstance(node, dict) or len(node) != 1:
            raise ValueError(f"it has a {type(node).__name__} where a node is expected")
        ((kind, inside),) = node.items()
        if kind == "array" and isinstance(inside, str):
            used.add(inside)
            if inside not in arrays:
                raise ValueError(f"there is no array {inside!r}")
            return arrays[inside]
        if kind == "float" and isinstance(inside, str):
            return float.fromhex(inside)
        if kind == "key" and isinstance(inside, list) and len(inside) == 1 and len(inside[0]) == 2:
            return jax.random.wrap_key_data(jnp.asarray(build(inside[0][1], depth + 1)), impl=inside[0][0])
        if kind in ("list", "tuple") and isinstance(inside, list):
            built = [build(each, depth + 1) for each in inside]
            return built if kind == "list" else tuple(built)
        pairs = isinstance(inside, list) and all(isinstance(item, list) and len(item) == 2 for item in inside)
        if kind in ("dict", "counter") and pairs:
            keys = [build(key, _DEEPEST) for key, _ in inside]
            if not all(isinstance(key, _SCALARS) for key in keys) or len(set(keys)) < len(keys):
                raise ValueError("a dict has a key twice, or one that is no key")
            made = {key: build(value, depth + 1) for key, (_, value) in zip(keys, inside, strict=True)}
            return made if kind == "dict" else Counter(made)
        raise ValueError(f"it has a node of an unknown kind, {kind!r:.40}")

    try:
        tree = build(outline, 0)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"the outline of the tree is damaged: {error}") from error
    if left := [name for name in arrays if name not in used]:
        raise ValueError(f"the outline of the tree is damaged: the array {left[0]!r} has no place in it")
    return tree


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return the leaves of a tree by the names that `flattened` gives them, numbers and strings too."""
    return dict(_leaves((), tree))


def filled(tree: Any, value: Callable[[str, Any], Any]) -> Any:
    """Return a tree with other leaves: ``value(name, leaf)``; its nodes keep their types."""

    def fill(path: tuple[Any, ...], node: Any) -> Any:
        if is_array(node) or isinstance(node, _SCALARS):
            return node if node is None else value(name_of(path), node)
        items = [fill((*path, key), each) for key, each in _children(path, node)[1]]
        if _is_key(node):
            return jax.random.wrap_key_data(jnp.asarray(items[0]), impl=jax.random.key_impl(node))
        if isinstance(node, dict):
            like = copy.copy(node)  # an OrderedDict stays one
            for key, item in zip(node, items, strict=True):
                like[key] = item
            return like
        structure: Any = jax.tree.structure(node, is_leaf=lambda each: each is not node)
        return structure.unflatten(items)

    return fill((), tree)


def is_array(node: Any) -> bool:
    """Return True for an array of NumPy's or JAX's, one of NumPy's numbers, and for the shape of an array."""
    return isinstance(node, np.ndarray | np.generic | jax.Array | jax.ShapeDtypeStruct) and not _is_key(node)


def _is_key(node: Any) -> bool:
    return isinstance(node, jax.Array) and jnp.issubdtype(node.dtype, jax.dtypes.prng_key)


def name_of(path: tuple[Any, ...]) -> str:
    """Return the name of a place in a tree; slashes inside of a key are escaped, so that no two places share one."""
    return "/".join(str(key).replace("%", "%25").replace("/", "%2F") for key in path)


def _leaves(path: tuple[Any, ...], node: Any) -> Iterator[tuple[str, Any]]:
    if is_array(node) or isinstance(node, _SCALARS):
        if node is not None:
            yield name_of(path), node
        return
    for key, each in _children(path, node)[1]:
        yield from _leaves((*path, key), each)


def _children(path: tuple[Any, ...], node: Any) -> tuple[str, list[tuple[Any, Any]]]:
    """The kind of a node, and its children by their keys."""
    where = name_of(path) or "the top"
    if _is_key(node):
        return "key", [(str(jax.random.key_impl(node)), jax.random.key_data(node))]
    if isinstance(node, dict):
        if odd := [key for key in node if not isinstance(key, _SCALARS)]:
            raise TypeError(f"{where} has the key {odd[0]!r}, a {type(odd[0]).__name__}: keys are strings or numbers")
        if len({str(key) for key in node}) < len(node):
            raise ValueError(f"{where} has two keys that are written alike: {', '.join(map(repr, node))}")
        return "counter" if isinstance(node, Counter) else "dict", list(node.items())
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return "dict", list(zip(node._fields, node, strict=True))
    if type(node) in (list, tuple):
        return type(node).__name__, list(enumerate(node))
    children = jax.tree_util.tree_leaves_with_path(node, is_leaf=lambda each: each is not node)
    if [each for _, each in children if each is node]:
        raise TypeError(
            f"{where} is a {type(node).__module__}.{type(node).__qualname__}, which is neither an array, a number, a "
            "string nor a registered pytree: leave it out"
        )
    return "dict", [(jax.tree_util.keystr(keys, simple=True), each) for keys, each in children]
