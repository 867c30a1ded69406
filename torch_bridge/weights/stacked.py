"""Layers that JAX keeps stacked, with a leading axis, as ``nn.scan`` and ``vmap`` over a constructor do."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from torch_bridge.weights.jax_side import Leaf, Node
from torch_bridge.weights.kinds import Fit, fits_of
from torch_bridge.weights.operation import Operation
from torch_bridge.weights.pair import Pair, Rows, Term
from torch_bridge.weights.torch_side import TorchLayer


def families_of(layers: Iterable[TorchLayer]) -> Iterator[list[TorchLayer]]:
    """Yield the layers that differ in one number of their names and in nothing else, in the order of the number."""
    families: dict[object, dict[int, TorchLayer]] = {}
    for layer in layers:
        parts = layer.name.split(".")
        shapes = tuple((role, tensor.shape) for role, tensor in layer.tensors.items())
        for depth, part in enumerate(parts):
            if part.isdigit():
                key = (*parts[:depth], "#", *parts[depth + 1 :]), shapes
                families.setdefault(key, {})[int(part)] = layer
    for members in families.values():
        if len(members) > 1:
            yield [members[number] for number in sorted(members)]


def stacked_layer(members: Sequence[TorchLayer]) -> TorchLayer:
    """Return a family as one layer, with the tensors of all: it is named after the first."""
    tensors = {f"{i}.{role}": tensor for i, each in enumerate(members) for role, tensor in each.tensors.items()}
    return replace(members[0], tensors=tensors, members=tuple(each.name for each in members))


def stacked_fits(members: Sequence[TorchLayer], node: Node) -> list[Fit]:
    """Return the ways in which a family lies at a node whose leaves all have a leading axis of its length."""
    if any(leaf.shape[:1] != (len(members),) for leaf in node.leaves.values()):
        return []
    single = replace(node, leaves={rel: _without_axis(leaf) for rel, leaf in node.leaves.items()}, module=None)
    return [_lifted(fit, members) for fit in fits_of(members[0], single)]


def _without_axis(leaf: Leaf) -> Leaf:
    return replace(leaf, shape=leaf.shape[1:], value=None)


def _lifted(fit: Fit, members: Sequence[TorchLayer]) -> Fit:
    return Fit(tuple(_lifted_pair(pair, members) for pair in fit.pairs), fit.layout)


def _lifted_pair(pair: Pair, members: Sequence[TorchLayer]) -> Pair:
    """The pair of the first layer, for all: their tensors one below the other, cut into layers by a reshape."""
    roles = {tensor.name: role for role, tensor in members[0].tensors.items()}
    length, terms = pair.operation.shape[0], []
    for i, layer in enumerate(members):
        for term in pair.terms:
            first, last = term.at or (0, length)
            at: Rows = (i * length + first, i * length + last)
            terms.append(Term(layer.tensors[roles[term.tensor]].name, term.rows, at))
    return replace(pair, terms=tuple(terms), operation=_lifted_operation(pair.operation, len(members)))


def _lifted_operation(operation: Operation, n: int) -> Operation:
    shape = operation.shape
    lifted = Operation((n * shape[0], *shape[1:])).reshape(n, *shape)
    for name, argument in operation.steps:
        if name == "reshape":
            lifted = lifted.reshape(n, *argument)
        elif name == "transpose":
            lifted = lifted.transpose(0, *(axis + 1 for axis in argument))
        else:
            lifted = lifted.flip(*(axis + 1 for axis in argument))
    return lifted
