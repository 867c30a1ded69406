"""JAX's side: the leaves of a tree of parameters, their paths, and the layers that they form."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from torch_bridge.weights.equinox_state import statistics_of
from torch_bridge.weights.families import jax_family

Path = tuple[str, ...]

_COLLECTIONS = {"params", "batch_stats"}  # linen's, at the top of its variables
_LARGEST = 16
"""Leaves of the largest layer: an LSTM with a kernel and a bias for each gate."""


@dataclass(frozen=True, eq=False)
class Leaf:
    """A leaf of the JAX parameters.

    Attributes:
        number: in the flattened tree.
        path: its keys as text; linen's collection is left out.
        text: the whole path, joined with slashes.
        shape: its shape.
        value: None where only the shape is known.
    """

    number: int
    path: Path
    text: str
    shape: tuple[int, ...]
    value: npt.NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class Node:
    """A place in the tree, with all leaves below it.

    Attributes:
        path: its keys.
        leaves: by their path below it, joined with slashes: ``"query/kernel"``.
        family: the kind of layer, see `jax_family`; None if unknown.
        module: the object of flax nnx or equinox that is there, or None.
    """

    path: Path
    leaves: Mapping[str, Leaf]
    family: str | None = None
    module: Any = None

    def child(self, name: str) -> "Node":
        """Return the place one below."""
        below = {rel.removeprefix(f"{name}/"): leaf for rel, leaf in self.leaves.items() if rel.startswith(f"{name}/")}
        module = _inside(self.module, name)
        return Node((*self.path, name), below, jax_family(module, name), module)

    @property
    def children(self) -> list[str]:
        """The names of the places one below."""
        return list(dict.fromkeys(rel.partition("/")[0] for rel in self.leaves if "/" in rel))


@dataclass(frozen=True)
class JaxSide:
    """The leaves that are weights, and the nodes above them.

    Attributes:
        leaves: arrays of real or complex numbers.
        nodes: every place that may be a layer, the root too.
        others: path -> what is no weight (counters, random keys, strings) and stays as it is.
        settings: leaf number -> the value that a flag takes when torch's values move in, and its path.
    """

    leaves: Sequence[Leaf]
    nodes: Sequence[Node]
    others: Sequence[str] = ()
    settings: Mapping[int, tuple[str, Any]] = field(default_factory=dict)


def read_jax(params: Any) -> JaxSide:
    """Read a tree: an nnx Module or State, linen's variables, an equinox module, or dicts, lists and tuples."""
    statistics, settings = statistics_of(params)
    tree = without_graph(params)
    uses_nnx = tree is not params or _has_variables(tree)
    leaves, others = [], []
    for number, (keys, value) in enumerate(jax.tree_util.tree_leaves_with_path(tree)):
        if uses_nnx and isinstance(keys[-1], jax.tree_util.GetAttrKey) and keys[-1].name == "value":
            keys = keys[:-1]
        path = statistics.get(number) or tuple(part for key in keys for part in _parts(key))
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
        if shape is None or dtype is None or not jax.numpy.issubdtype(dtype, jax.numpy.inexact):
            others += [] if number in settings else ["/".join(path)]
            continue
        known = not isinstance(value, jax.ShapeDtypeStruct | jax.core.Tracer)
        known = known and getattr(value, "is_fully_addressable", True)  # of several processes none holds all
        leaves.append(Leaf(number, path, "/".join(path), tuple(shape), np.asarray(value) if known else None))
    if {leaf.path[0] for leaf in leaves if leaf.path} <= _COLLECTIONS:
        leaves = [Leaf(each.number, each.path[1:], each.text, each.shape, each.value) for each in leaves]
    return JaxSide(leaves, _nodes(leaves, params), others, settings)


def without_graph(tree: Any) -> Any:
    """Return the State of an nnx Module, in which a shared variable comes once; other trees as they are."""
    nnx = sys.modules.get("flax.nnx")
    return nnx.state(tree) if nnx is not None and isinstance(tree, nnx.Module) else tree


def with_graph(like: Any, tree: Any) -> Any:
    """Return the tree as what ``like`` is: undo `without_graph`."""
    nnx = sys.modules.get("flax.nnx")
    if nnx is None or not isinstance(like, nnx.Module):
        return tree
    return nnx.merge(nnx.graphdef(like), tree)


def keys_of(path: str) -> Path:
    """Return a path that a user wrote, ``"layers/0/kernel"`` or ``"layers[0].kernel"``, as keys."""
    return tuple(part for part in re.split(r"[./\[\]'\"]+", path) if part)


def _nodes(leaves: Sequence[Leaf], params: Any) -> list[Node]:
    below: dict[Path, dict[str, Leaf]] = {}
    for leaf in leaves:
        for depth in range(len(leaf.path)):
            below.setdefault(leaf.path[:depth], {})["/".join(leaf.path[depth:])] = leaf
    nodes = []
    for path, inside in below.items():
        module = params
        for part in path:
            module = _inside(module, part)
        nodes.append(Node(path, inside, jax_family(module, path[-1] if path else ""), module))
    return nodes


def is_layer_sized(node: Node) -> bool:
    """Return True if a node has few enough leaves to be one layer."""
    return len(node.leaves) <= _LARGEST


def _inside(module: Any, name: str) -> Any:
    if isinstance(module, Mapping):
        return module.get(name)
    if isinstance(module, list | tuple) and name.isdigit() and int(name) < len(module):
        return module[int(name)]
    inside = getattr(module, name, None)
    if inside is None and name.isdigit() and type(module).__module__.startswith("flax"):  # nnx.List
        try:
            inside = module[int(name)]
        except (IndexError, KeyError, TypeError):
            return None
    return inside


def _parts(key: Any) -> Path:
    """A key's text; a flat dict with torch's dotted names is read as a nested one."""
    text = jax.tree_util.keystr((key,), simple=True)
    return tuple(part for part in re.split(r"[./]", text) if part) or (text,)


def _has_variables(tree: Any) -> bool:
    nnx = sys.modules.get("flax.nnx")
    if nnx is None:
        return False
    return any(
        isinstance(x, nnx.Variable) for x in jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, nnx.Variable))
    )
