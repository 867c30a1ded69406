"""Which module of a port computes what a layer of torch's does, by the mapping of their weights."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch_bridge.weights import Weights
from torch_bridge.weights.jax_side import Node, read_jax
from torch_bridge.weights.pair import Pair

_DIRECTION = re.compile(r"weight_hh_l(\d+)(_reverse)?")


@dataclass(frozen=True)
class Counterpart:
    """Modules of the port, by the paths of their weights, whose outputs are a layer's output.

    Attributes:
        paths: one module, or several whose outputs are the layer's side by side.
        columns: of the modules' output, first and the one after the last, where that holds more; None for all.
        method: what is called, see `torch_bridge.judge.layers.watching.METHODS`; None for any of a module's calls.
    """

    paths: tuple[str, ...]
    columns: tuple[int, int] | None = None
    method: str | None = None

    def __str__(self) -> str:
        """Return the paths as text."""
        part = "" if self.columns is None else f"[{self.columns[0]}:{self.columns[1]}]"
        return ", ".join(path or "the model" for path in self.paths) + part


class Counterparts:
    """The modules of a port that hold the weights of a layer, all of them and no others."""

    def __init__(self, weights: Weights, tied: Mapping[str, str] | None = None) -> None:
        """Read the mapping; ``tied`` are further names of torch's parameters, which a trace knows from its recipe."""
        self._aliases = {**(tied or {}), **weights.aliases}
        pairs = {pair.leaf: pair for pair in weights.pairs}
        self._nodes: list[tuple[Node, list[Pair]]] = []
        for node in read_jax(weights.template).nodes:
            held = [pairs.get(leaf.number) for leaf in node.leaves.values()]
            known = [pair for pair in held if pair is not None]
            if len(known) == len(held):
                self._nodes.append((node, known))
        self._names = {name for pair in weights.pairs for name in pair.tensors}
        self._all = [*self._names, *self._aliases]

    def of(self, layer: str, kind: str) -> tuple[Counterpart, ...] | None:
        """Return the candidates for a layer, the innermost modules first; None for a layer without weights.

        Args:
            layer: its name.
            kind: the name of its class.
        """
        mine = [name for name in self._all if not layer or name.startswith(f"{layer}.")]
        tensors = {self._aliases.get(name, name) for name in mine} & self._names
        if not tensors:
            return None
        tied = any(name in self._aliases for name in mine)
        found = [
            Counterpart(("/".join(node.path),), None, _method(kind, node, tied))
            for node in sorted(self._holding(tensors), key=lambda node: -len(node.path))
        ]
        found += [*self._last_depth(tensors), *self._side_by_side(tensors), *self._columns(tensors)]
        return tuple(dict.fromkeys(found))

    def _holding(self, tensors: set[str]) -> Iterator[Node]:
        for node, pairs in self._nodes:
            if _tensors(pairs) == tensors and self._whole(tensors, pairs):
                yield node

    def _whole(self, tensors: set[str], pairs: Sequence[Pair]) -> bool:
        """True if no other leaf holds a part of the tensors, but for those that stand in the tree more than once."""
        inside = {_rows(pair, name) for pair in pairs for name in pair.tensors}
        all_pairs = {pair.leaf: pair for _, each in self._nodes for pair in each}.values()
        return all(_rows(pair, name) in inside for pair in all_pairs for name in pair.tensors if name in tensors)

    def _last_depth(self, tensors: set[str]) -> Iterator[Counterpart]:
        """Of a recurrent layer, the modules of its last depth: forward, and backward where there is such."""
        depths: dict[tuple[int, bool], str] = {}
        for name in tensors:
            if match := _DIRECTION.fullmatch(name.rpartition(".")[2]):
                depths[int(match[1]), bool(match[2])] = name.rpartition(".")[0]
        if len(depths) < 2:
            return
        last = max(depth for depth, _ in depths)
        groups = []
        for depth, reverse in sorted(depths):
            if depth == last:
                suffix = f"_l{depth}{'_reverse' if reverse else ''}"
                own = {name for name in tensors if name.endswith(suffix)}
                groups.append(sorted(self._holding(own), key=lambda node: len(node.path)))
        if all(groups):
            for inner in (0, -1):
                yield Counterpart(tuple("/".join(nodes[inner].path) for nodes in groups))

    def _side_by_side(self, tensors: set[str]) -> Iterator[Counterpart]:
        """Modules that hold some rows of a weight each, as separate projections of query, key and value do."""
        parts: dict[tuple[int, int], str] = {}
        for node, pairs in self._nodes:
            rows = {_rows(pair, name)[1] for pair in pairs for name in pair.tensors}
            if _tensors(pairs) == tensors and len(rows) == 1 and (only := next(iter(rows))) is not None:
                parts.setdefault(only, "/".join(node.path))
        ordered = sorted(parts)
        if len(ordered) > 1 and all(a[1] == b[0] for a, b in itertools.pairwise(ordered)):
            yield Counterpart(tuple(parts[rows] for rows in ordered))

    def _columns(self, tensors: set[str]) -> Iterator[Counterpart]:
        """A module that holds the weights of several layers side by side, as a fused projection does."""
        for node, pairs in self._nodes:
            if not tensors < _tensors(pairs):
                continue
            places = {term.at for pair in pairs for term in pair.terms if term.tensor in tensors}
            if len(places) == 1 and (at := next(iter(places))) is not None:
                yield Counterpart(("/".join(node.path),), at)


def _tensors(pairs: Sequence[Pair]) -> set[str]:
    return {name for pair in pairs for name in pair.tensors}


def _rows(pair: Pair, name: str) -> tuple[str, tuple[int, int] | None]:
    rows = [term.rows for term in pair.terms if term.tensor == name]
    return name, rows[0] if len(set(rows)) == 1 else None


def _method(kind: str, node: Node, tied: bool) -> str | None:
    """A Linear whose weight is an Embedding's is that one's other method."""
    if tied and kind.endswith("Linear") and node.family == "Embedding":
        return "attend"
    return "__call__" if node.family == "Embedding" else None
