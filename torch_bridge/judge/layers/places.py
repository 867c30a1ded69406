"""Where in the parameters of a port the weights of a module object lie."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from torch_bridge.weights.jax_side import Node, Path, read_jax, without_graph


class Places:
    """Finds the path of a module's weights, for modules of flax nnx and equinox.

    A module is known by its arrays, which are those that the function was called with; within ``jax.jit``, which gives
    it others, by the names and shapes of its arrays, where these occur once. What is inside of a module that is known
    is known too. Of the rest nothing is said.
    """

    def __init__(self, template: Any) -> None:
        """Take the parameters that were mapped."""
        side = read_jax(template)
        self._nodes: Sequence[Node] = side.nodes
        self._paths: dict[int, Path] = {leaf.number: leaf.path for leaf in side.leaves}
        self._structure: Any = jax.tree.structure(without_graph(template))
        self.begin(None)

    def begin(self, params: Any) -> None:
        """Begin a trace of the function with its parameters; anything else is passed over."""
        self._known: dict[int, tuple[Any, str | None]] = {}  # the objects are kept, so that their ids are theirs
        self._arrays: dict[int, tuple[Any, Path]] = {}
        tree = without_graph(params)
        if jax.tree.structure(tree) == self._structure:
            for number, leaf in enumerate(jax.tree.leaves(tree)):
                if number in self._paths:
                    self._arrays[id(leaf)] = leaf, self._paths[number]

    def of(self, module: Any) -> str | None:
        """Return the path of a module's weights, joined with slashes; None if it is not known."""
        if id(module) not in self._known:
            self._known[id(module)] = module, None
            path = self._find(module)
            if path is not None:
                for below, inside in _modules(module):
                    self._known[id(inside)] = inside, "/".join((*path, *below))
        return self._known[id(module)][1]

    def _find(self, module: Any) -> Path | None:
        arrays = dict(_arrays(module))
        if not arrays:
            return None
        bases = set()
        for below, array in arrays.items():
            if id(array) in self._arrays:
                path = self._arrays[id(array)][1]
                if path[-len(below) :] == below:
                    bases.add(path[: len(path) - len(below)])
        if not bases:
            shapes = {"/".join(below): np.shape(array) for below, array in arrays.items()}
            bases = {node.path for node in self._nodes if _fits(node, shapes)}
        return bases.pop() if len(bases) == 1 else None


def bases_of_modules() -> Iterator[type]:
    """Yield the classes of which every module is one, of flax nnx and equinox as far as they are imported."""
    for package in ("flax.nnx", "equinox"):
        if (library := sys.modules.get(package)) is not None:
            yield library.Module


def _fits(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """True if the module has every leaf of the node, and else only what may be left out of parameters."""
    return {rel: leaf.shape for rel, leaf in node.leaves.items()} == {
        rel: shape for rel, shape in shapes.items() if rel in node.leaves or not _is_state(rel)
    }


def _is_state(name: str) -> bool:
    return name.rpartition("/")[2] in ("mean", "var", "count", "key")


def _modules(module: Any) -> Iterator[tuple[Path, Any]]:
    bases = tuple(bases_of_modules())
    return ((path, each) for path, each in _inside(module) if isinstance(each, bases))


def _arrays(module: Any) -> Iterator[tuple[Path, Any]]:
    for path, each in _inside(module):
        if isinstance(each, jax.Array) and jax.numpy.issubdtype(each.dtype, np.inexact):
            yield path, each


def _inside(thing: Any, path: Path = (), seen: frozenset[int] = frozenset()) -> Iterator[tuple[Path, Any]]:
    """Go through a module and all that is in it: modules, containers, arrays."""
    if id(thing) in seen:
        return
    seen |= {id(thing)}
    nnx = sys.modules.get("flax.nnx")
    if nnx is not None and isinstance(thing, nnx.Variable):
        thing = thing.get_raw_value()
    yield path, thing
    if isinstance(thing, jax.Array):
        return
    if isinstance(thing, tuple(bases_of_modules())):
        items = [(name, each) for name, each in vars(thing).items() if not name.startswith("_pytree__")]
    elif isinstance(thing, Mapping):
        items = [(str(name), each) for name, each in thing.items()]
    elif isinstance(thing, list | tuple):
        items = [(str(index), each) for index, each in enumerate(thing)]
    else:
        return
    for name, each in items:
        yield from _inside(each, (*path, name), seen)
