"""Both rules on a few made-up numbers: what a port's rule does to a small copy of its parameters, step by step.

The parameters stay as they are while the gradients change, so that a learning rate enters each change once, as a
factor: the rates of two rules that agree in all else are in the ratio of their changes, at every step of the run.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

from funcsgd.arithmetic.float64_words import doubles
from torch_bridge.judge.ideal import changes
from torch_bridge.judge.preflight.side import Sides
from torch_bridge.trace.trace import Array
from torch_bridge.translate.optimizers import adapter_named, rule_of, with_numbers
from torch_bridge.translate.recipe import Recipe

SIZE = 8
"""The number of elements by which a parameter is represented."""

LEAVES = 16
"""The number of parameters that are looked at."""

PERIOD = 8
"""The number of different gradients, which repeat."""

SMALL = 1e-4
"""The size of gradients: too small to be clipped, and as large as what weight decay adds to them."""

VALUES = 400_000
"""The number of changes of parameters that are looked at, over all steps."""


@dataclass(frozen=True)
class Leaf:
    """One leaf of the port's parameters.

    Attributes:
        position: among the leaves of the tree.
        names: torch's tensors in it.
        group: torch's parameter group; None if it is not trained, or is in several.
        shape: of its small copy.
    """

    position: int
    names: tuple[str, ...]
    group: int | None
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Probe:
    """The small copy of a port's parameters, and gradients for it.

    Attributes:
        leaves: those that are looked at.
        n_trained: how many leaves are trained.
        params: float64 ``(leaves, SIZE)``, large and small by turns, since the change of a large one is rounded more;
            elements beyond a leaf's own are zero.
        gradients: float64 ``(PERIOD, leaves, SIZE)``; the first are zero, so that decay shows alone.
        n_steps: how many steps are looked at.
    """

    leaves: tuple[Leaf, ...]
    params: Array
    gradients: Array
    n_steps: int
    n_trained: int

    def small(self, tree: Any, values: Any) -> Any:
        """Return a tree of the port's parameters with small copies in it."""
        leaves, structure = jax.tree.flatten(tree)
        # A leaf that is not looked at keeps its place and its axes, and has no elements.
        others: list[Any] = [np.zeros((0,) * np.ndim(leaf), values.dtype) for leaf in leaves]
        for row, leaf in zip(values, self.leaves, strict=True):
            others[leaf.position] = row[: _size(leaf.shape)].reshape(leaf.shape)
        return jax.tree.unflatten(structure, others)

    def rows(self, tree: Any, structure: Any) -> Any:
        """Return what a tree holds for the trained leaves, ``(leaves, SIZE)``."""
        leaves = structure.flatten_up_to(tree)
        flat = [jax.numpy.ravel(leaves[leaf.position]) for leaf in self.leaves]
        return jax.numpy.stack([jax.numpy.pad(row, (0, SIZE - row.shape[0])) for row in flat])


def probe_of(sides: Sides, recipe: Recipe) -> Probe:
    """Make the small copy of a port's parameters."""
    arrays = jax.tree.leaves(sides.start)
    groups = recipe.labels
    leaves = []
    for pair in sides.weights.pairs:
        found = {groups.get(name) for name in pair.tensors}
        group = found.pop() if len(found) == 1 else None
        if group is not None and not set(pair.tensors) & set(recipe.frozen):
            leaves.append(Leaf(pair.leaf, pair.tensors, group, _small_shape(np.shape(arrays[pair.leaf]))))
    n_trained, leaves = len(leaves), _some(leaves, sides.trace.static.get("modules", {}))
    random = np.random.default_rng(0)
    own = np.array([[i < _size(leaf.shape) for i in range(SIZE)] for leaf in leaves]).reshape(len(leaves), SIZE)
    params = random.standard_normal(own.shape) * own * np.where(np.arange(SIZE) % 2, 1e-3, 1.0)
    gradients = SMALL * random.standard_normal((PERIOD, *own.shape)) * own
    gradients[0] = 0
    n_steps = min(sides.trace.n_steps, max(2 * PERIOD, VALUES // (SIZE * max(1, len(leaves)))))
    return Probe(tuple(leaves), params, gradients, n_steps, n_trained)


def recorded_rule(recipe: Recipe, group: int, flags: Mapping[str, Any], n_steps: int) -> Any:
    """Return torch's rule, ``(numbers (leaves, steps, numbers), params (leaves, SIZE), gradients (steps, leaves, SIZE))
    -> changes (steps, leaves, SIZE)``, in float64.
    """
    options = tuple(sorted({**recipe.groups[group].options, **flags}.items()))
    return _compiled(recipe.optimizer, options, 1 << max(4, (n_steps - 1).bit_length()))


@functools.lru_cache(maxsize=32)
def _compiled(torch_class: str, options: tuple[tuple[str, Any], ...], length: int) -> Any:
    adapter = adapter_named(torch_class)

    def rule(numbers: jax.Array) -> optax.GradientTransformationExtraArgs:
        arguments = with_numbers(dict(options), {number: numbers[i] for i, number in enumerate(adapter.numbers)})
        return rule_of(adapter)(arguments.pop("lr"), **arguments)

    def one(table: jax.Array, params: jax.Array, gradients: jax.Array) -> jax.Array:
        def step(opt_state: Any, at: Any) -> Any:
            numbers, gradient = at
            updates, opt_state = rule(numbers).update({"x": gradient}, opt_state, {"x": params})
            return opt_state, changes({"x": params}, updates)["x"]

        found: jax.Array = jax.lax.scan(step, rule(table[0]).init({"x": params}), (table, gradients))[1]
        return found

    program = jax.jit(jax.vmap(one, in_axes=(0, 0, 1), out_axes=1))

    def run(table: Array, params: Array, gradients: Array) -> Array:
        n = table.shape[1]
        table, gradients = (np.pad(x, _up_to(length, x, axis), "edge") for x, axis in ((table, 1), (gradients, 0)))
        with doubles():
            found = program(table.astype(np.float64), params.astype(np.float64), gradients.astype(np.float64))
            return np.asarray(found)[:n]

    return run


def _some(leaves: list[Leaf], modules: Mapping[str, str]) -> list[Leaf]:
    """A few leaves of each kind, where there are many: of a group, a module's class, a name in it, a number of axes."""
    if len(leaves) <= LEAVES:
        return leaves
    kinds: dict[Any, list[Leaf]] = {}
    for leaf in leaves:
        module, _, name = leaf.names[0].rpartition(".")
        kinds.setdefault((leaf.group, modules.get(module), name, len(leaf.shape)), []).append(leaf)
    chosen: list[Leaf] = []
    for turn in (0, -1, 1):  # of each kind the first, then the last, then the second
        for row in kinds.values():
            if -len(row) <= turn < len(row) and row[turn] not in chosen and len(chosen) < LEAVES:
                chosen.append(row[turn])
    return sorted(chosen, key=lambda leaf: leaf.position)


def _up_to(length: int, x: Array, axis: int) -> list[tuple[int, int]]:
    return [(0, length - n if i == axis else 0) for i, n in enumerate(x.shape)]


def _small_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape of as many axes and at most `SIZE` elements: rules may look at the number of axes."""
    left, small = SIZE, []
    for n in shape:
        small.append(min(n, 4 if len(shape) == 1 else 2, left))
        left //= max(1, small[-1])
    return tuple(small)


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))
