"""The mapping of weights, and the two ways through it."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from torch_bridge.translate.tensors import to_numpy, to_tensor
from torch_bridge.weights.jax_side import with_graph, without_graph
from torch_bridge.weights.operation import Operation
from torch_bridge.weights.pair import Pair, Term
from torch_bridge.weights.table import table
from torch_bridge.weights.torch_side import arrays_of

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Weights:
    """Which leaf of the JAX parameters is made of which of torch's tensors; `map_weights` finds it.

    ``str(weights)`` is the table of all pairs, with each transposition, reshape, flip, split and sum that is done.

    Attributes:
        template: the JAX parameters that were mapped.
        pairs: one for each leaf that is a weight.
        shapes: of torch's tensors that have a leaf, by name.
        layers: torch's module -> the path of the same layer in JAX, for those that lie together.
        aliases: further name -> first name of tensors that torch ties.
        unpaired: torch's tensors that have no leaf (counters, statistics where only parameters were given, what was
            overridden by None), with their values where these are known; `state_dict` hands them back.
        order: all names of torch's state dict.
        others: paths of what is no weight; it stays as it is in ``template``.
        settings: leaf number -> path and value of a flag that is set when torch's values move in.

    Exactness: bitwise; values are moved, never computed with, but for the sum of two biases.

    Example:
        >>> import numpy as np
        >>> from torch_bridge import map_weights
        >>> weights = map_weights({"weight": np.zeros((1, 2))}, {"kernel": np.zeros((2, 1))})
        >>> weights.to_jax({"weight": np.float32([[1, 2]])})["kernel"].tolist()
        [[1.0], [2.0]]
        >>> weights.to_torch({"kernel": np.float32([[3], [4]])})["weight"].tolist()
        [[3.0, 4.0]]
    """

    template: Any
    pairs: tuple[Pair, ...]
    shapes: Mapping[str, tuple[int, ...]]
    layers: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    unpaired: Mapping[str, Array | None] = field(default_factory=dict)
    order: Sequence[str] = ()
    others: Sequence[str] = ()
    settings: Mapping[int, tuple[str, Any]] = field(default_factory=dict)

    def to_jax(self, source: Any, *, partial: bool = False) -> Any:
        """Return a tree like the JAX parameters with torch's values.

        Args:
            source: a ``torch.nn.Module``, its state dict, a `Trace` (its first parameters), or arrays by torch's names
                (gradients, momentum buffers, ...); further names are passed over.
            partial: leave None at a leaf that lacks a tensor, as gradients may, and at what is no weight.

        Returns:
            A new tree; leaves have the dtype of torch's tensors. What is no weight is the template's own.

        Raises:
            KeyError: a tensor is missing.
            ValueError: a tensor's shape is not the one that was mapped, or JAX would cut its float64 to float32.
        """
        given = arrays_of(source)
        structure: Any = jax.tree.structure(without_graph(self.template))
        leaves: list[Any] = [None] * structure.num_leaves
        if not partial:
            leaves = list(jax.tree.leaves(without_graph(self.template)))
            for number, (_, value) in self.settings.items():
                leaves[number] = value
        cache: dict[str, Array] = {}
        for pair in self.pairs:
            missing = [name for name in pair.tensors if name not in cache and not self._read(name, given, cache)]
            if missing and not partial:
                raise KeyError(f"no torch parameter {missing[0]!r}; there are {', '.join(sorted(given))}")
            leaves[pair.leaf] = None if missing else _to_device(pair.to_leaf(cache), pair)
        return with_graph(self.template, jax.tree.unflatten(structure, leaves))

    def to_torch(self, tree: Any) -> dict[str, Array]:
        """Return the arrays of a tree like the JAX parameters by torch's names, in torch's layout.

        Leaves that are None are left out. Of the sum of two biases the first gets all, the second zeros.

        Raises:
            ValueError: a leaf has another shape; or torch ties what two leaves hold, and these differ.
        """
        structure: Any = jax.tree.structure(without_graph(self.template))
        leaves = structure.flatten_up_to(without_graph(tree))
        named: dict[str, Array] = {}
        written: dict[str, list[tuple[Term, Pair]]] = {}
        absent = {name for pair in self.pairs if leaves[pair.leaf] is None for name in pair.tensors}
        for pair in self.pairs:
            if leaves[pair.leaf] is None:
                continue
            for term, part in pair.to_tensors(np.asarray(leaves[pair.leaf])):
                if term.tensor in absent:
                    continue
                earlier = [other for each, other in written.get(term.tensor, ()) if each.rows == term.rows]
                written.setdefault(term.tensor, []).append((term, pair))
                if earlier:
                    self._check_tied(term, part, named, earlier[0], pair)
                elif term.rows is None:
                    named[term.tensor] = part
                else:
                    if term.tensor not in named:
                        named[term.tensor] = np.zeros(self.shapes[term.tensor], part.dtype)
                    named[term.tensor][slice(*term.rows)] = part
        return named

    def state_dict(self, tree: Any) -> "dict[str, torch.Tensor]":
        """Return the state dict of the torch model with the values of a tree like the JAX parameters.

        It is complete, for ``load_state_dict``: tied tensors stand under all their names, and what has no leaf is as
        it was in the model that was mapped.

        Raises:
            ValueError: see `to_torch`; a flag is set for statistics that are not torch's.
            ImportError: torch is not installed.
        """
        if importlib.util.find_spec("torch") is None:
            raise ImportError("state_dict makes torch's tensors, and torch is not installed; to_torch gives the arrays")
        self._check_settings(tree)
        arrays = {**{name: value for name, value in self.unpaired.items() if value is not None}, **self.to_torch(tree)}
        tensors = {name: to_tensor(array) for name, array in arrays.items()}
        names = self.order or list(tensors)
        first = {name: self.aliases.get(name, name) for name in names}
        return {name: tensors[first[name]] for name in names if first[name] in tensors}

    def _read(self, name: str, given: Mapping[str, Any], cache: dict[str, Array]) -> bool:
        also = [alias for alias, first in self.aliases.items() if first == name]
        key = next((each for each in (name, *also) if each in given), None)
        if key is not None:
            value = given[key]
            cache[name] = to_numpy(value) if hasattr(value, "detach") else np.asarray(value)
        return key is not None

    def _check_tied(self, term: Term, part: Array, named: Mapping[str, Array], first: Pair, second: Pair) -> None:
        known = named[term.tensor] if term.rows is None else named[term.tensor][slice(*term.rows)]
        if not np.array_equal(known, part, equal_nan=np.issubdtype(part.dtype, np.inexact)):
            raise ValueError(
                f"torch has one tensor, {term.tensor!r}, where JAX has two leaves, {first.path!r} and {second.path!r}, "
                "and these differ: tie them in JAX too, or untie them in torch"
            )

    def _check_settings(self, tree: Any) -> None:
        structure: Any = jax.tree.structure(without_graph(self.template))
        leaves = structure.flatten_up_to(without_graph(tree))
        for number, (path, _) in self.settings.items():
            if path.endswith("batch_counter") and int(leaves[number]):
                raise ValueError(
                    f"{path!r} is {int(leaves[number])}: equinox's BatchNorm(mode='batch') divides what it keeps by "
                    "1 - momentum ** counter, so that it is not torch's running statistics; use mode='ema'"
                )

    def __str__(self) -> str:
        """Return the table of the pairs."""
        return table(self)


def same_weights(named: Mapping[str, Any]) -> Weights:
    """Return the `Weights` of parameters kept as a flat dict under torch's names, in torch's layout.

    Args:
        named: torch name -> array of the parameter's shape.
    """
    template = dict(named)
    shapes = {name: tuple(np.shape(value)) for name, value in named.items()}
    pairs = tuple(
        Pair(number, name, (Term(name),), Operation(shapes[name]), "names")
        for number, name in enumerate(sorted(template))
    )
    return Weights(template, pairs, shapes, order=list(named))


def require_same_training(weights: Weights) -> None:
    """Refuse a mapping by which a port cannot train as torch does, though it computes the same outputs.

    Raises:
        ValueError: a leaf is the sum of two biases, or two leaves are one tensor of torch's.
    """
    for pair in weights.pairs:
        if pair.is_sum:
            raise ValueError(
                f"{pair.path!r} is the sum {pair.source}: torch trains both, so that their sum moves twice as far as "
                "this one leaf; give the port both biases to compare its training, or compare its outputs alone"
            )
    seen: dict[tuple[str, Any], str] = {}
    for pair in weights.pairs:
        for term in pair.terms:
            first = seen.setdefault((term.tensor, term.rows), pair.path)
            if first != pair.path:
                raise ValueError(
                    f"torch has one tensor, {term.tensor!r}, where JAX has two leaves, {first!r} and {pair.path!r}: "
                    "they would train apart; tie them in JAX too, or untie them in torch"
                )


def _to_device(array: Array, pair: Pair) -> jax.Array:
    moved = jnp.asarray(array)
    if moved.dtype != array.dtype:
        raise ValueError(
            f"{pair.source!r} is {array.dtype}, which JAX would cut to {moved.dtype}: set "
            "jax.config.update('jax_enable_x64', True), or give torch's tensors in that dtype"
        )
    return moved
