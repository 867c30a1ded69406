"""LSTM, GRU and simple recurrent cells: torch's stacked gates and two biases against flax's and equinox's cells."""

from collections.abc import Iterator, Mapping, Sequence

from torch_bridge.weights.jax_side import Leaf, Node
from torch_bridge.weights.kinds.fit import BIASES, Fit, rows_of, whole
from torch_bridge.weights.kinds.linear import linear_layouts
from torch_bridge.weights.operation import Operation
from torch_bridge.weights.pair import Pair, Rows, Term
from torch_bridge.weights.torch_side import Tensor, TorchLayer

GATES = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"}
"""The gates in torch's order, by flax's letters."""

INPUTS = ("dense_i", "i", "ih", "x2h", "input", "linear_ih", "W_ih")
HIDDENS = ("dense_h", "h", "hh", "h2h", "hidden", "linear_hh", "W_hh")


def recurrent_fits(family: str) -> "RecurrentFits":
    """Return the table of a family: LSTM, GRU or RNN."""
    return RecurrentFits(family)


class RecurrentFits:
    """The ways in which one direction of one depth lies at a node."""

    def __init__(self, family: str) -> None:
        """Take the name of a family in `GATES`."""
        self._gates = GATES[family]
        self._is_gru = family == "GRU"

    def __call__(self, layer: TorchLayer, node: Node) -> Iterator[Fit]:
        """Yield the ways: stacked gates (equinox, torch's own names), two dense layers, a dense layer for each gate."""
        if {"weight_ih", "weight_hh"} <= set(layer.tensors) and set(layer.tensors) <= {
            "weight_ih", "weight_hh", "bias_ih", "bias_hh",
        }:  # fmt: skip
            yield from self._stacked(layer.tensors, node)
            yield from self._two_dense(layer.tensors, node)
            yield from self._dense_for_each_gate(layer.tensors, node)

    def _stacked(self, tensors: Mapping[str, Tensor], node: Node) -> Iterator[Fit]:
        leaves = {_without_depth(rel): leaf for rel, leaf in node.leaves.items()}
        if len(leaves) < len(node.leaves) or not {"weight_ih", "weight_hh"} <= set(leaves):
            return
        kernels = [_kernel(tensors[role], leaves[role]) for role in ("weight_ih", "weight_hh")]
        biases = {rel: leaf for rel, leaf in leaves.items() if not rel.startswith("weight_")}
        yield from self._with_biases(kernels, tensors, biases)

    def _two_dense(self, tensors: Mapping[str, Tensor], node: Node) -> Iterator[Fit]:
        names = [next((n for n in names if n in node.children), None) for names in (INPUTS, HIDDENS)]
        if None in names or len(node.children) != 2:
            return
        kernels: list[Pair | None] = []
        biases: dict[str, Leaf] = {}
        for name, part in zip(names, ("ih", "hh"), strict=True):
            below = node.child(str(name)).leaves
            bias = next((leaf for rel, leaf in below.items() if rel in BIASES), None)
            rest = [leaf for leaf in below.values() if leaf is not bias]
            if len(rest) != 1:
                return
            kernels.append(_kernel(tensors[f"weight_{part}"], rest[0]))
            biases |= {} if bias is None else {f"bias_{part}": bias}
        if len(biases) == 1:  # flax adds torch's two up in one
            biases = {"bias": next(iter(biases.values()))}
        if not (self._is_gru and "bias" in biases and "bias_ih" in tensors):  # see `lacks_new_gates_bias`
            yield from self._with_biases(kernels, tensors, biases)

    def _with_biases(
        self, kernels: Sequence[Pair | None], tensors: Mapping[str, Tensor], biases: Mapping[str, Leaf]
    ) -> Iterator[Fit]:
        two = [tensors[name] for name in ("bias_ih", "bias_hh") if name in tensors]
        pairs: list[Pair | None]
        if set(biases) == {"bias_ih", "bias_hh"} and len(two) == 2:
            pairs = [_as_is(tensor, biases[name]) for tensor, name in zip(two, ("bias_ih", "bias_hh"), strict=True)]
        elif set(biases) == {"bias"} and len(two) == 2 and not self._is_gru:
            pairs = [_sum(two, biases["bias"], None)]
        elif set(biases) == {"bias", "bias_n"} and len(two) == 2 and self._is_gru:
            width = two[0].shape[0] // 3
            pairs = [_sum(two, biases["bias"], 2 * width), _rows(two[1], (2 * width, 3 * width), biases["bias_n"])]
        elif not biases and not two:
            pairs = []
        else:
            return
        found = [pair for pair in (*kernels, *pairs) if pair is not None]
        if len(found) == len(kernels) + len(pairs):
            yield Fit(tuple(found))

    def _dense_for_each_gate(self, tensors: Mapping[str, Tensor], node: Node) -> Iterator[Fit]:
        width = tensors["weight_hh"].shape[1]
        pairs: list[Pair | None] = []
        expected = set()
        for number, gate in enumerate(self._gates):
            rows = (number * width, (number + 1) * width)
            biases: dict[str, Leaf] = {}
            for part in "ih":
                # "if" and "in" are words of Python's.
                name = next((n for n in (f"{part}{gate}", f"{part}{gate}_") if n in node.children), None)
                below = node.child(name).leaves if name else {}
                if not name or "kernel" not in below or set(below) - {"kernel", "bias"}:
                    return
                expected.add(name)
                tensor, leaf = tensors[f"weight_{part}h"], below["kernel"]
                operation = Operation((width, tensor.shape[1])).transpose(1, 0)
                pairs.append(rows_of(tensor, rows, leaf, operation) if operation.result == leaf.shape else None)
                if "bias" in below:
                    biases[f"bias_{part}h"] = below["bias"]
            pairs += self._gates_biases(gate, tensors, biases, rows)
        if None not in pairs and set(node.children) == expected and all("/" in rel for rel in node.leaves):
            yield Fit(tuple(pair for pair in pairs if pair is not None))

    def _gates_biases(
        self, gate: str, tensors: Mapping[str, Tensor], biases: Mapping[str, Leaf], rows: Rows
    ) -> list[Pair | None]:
        if "bias_ih" not in tensors:
            return [None] if biases else []
        if len(biases) == 2:
            return [_rows(tensors[name], rows, leaf) for name, leaf in biases.items()]
        if len(biases) != 1 or (self._is_gru and gate == "n"):
            return [None]
        leaf = next(iter(biases.values()))
        terms = tuple(Term(tensors[name].name, rows) for name in ("bias_ih", "bias_hh"))
        shape = (rows[1] - rows[0],)
        return [Pair(leaf.number, leaf.text, terms, Operation(shape)) if leaf.shape == shape else None]


def lacks_new_gates_bias(layer: TorchLayer, node: Node) -> bool:
    """Return True for ``nnx.GRUCell``, which has no bias in the state's part of the new gate."""
    if "GRU" not in layer.families or "bias_hh" not in layer.tensors:
        return False
    shapes = {rel: leaf.shape for rel, leaf in node.leaves.items()}
    rows, inputs = layer.tensors["weight_ih"].shape
    return shapes == {
        "dense_i/kernel": (inputs, rows), "dense_i/bias": (rows,), "dense_h/kernel": (rows // 3, rows),
    }  # fmt: skip


def _kernel(tensor: Tensor, leaf: Leaf) -> Pair | None:
    layouts = linear_layouts(tensor.shape, leaf, known=True)
    if len(layouts) == 2 and leaf.path[-1].startswith("weight"):  # a square one, as torch names it
        layouts.pop()
    return whole(tensor, leaf, layouts[0]) if len(layouts) == 1 else None


def _as_is(tensor: Tensor, leaf: Leaf) -> Pair | None:
    return whole(tensor, leaf, Operation(tensor.shape)) if tensor.shape == leaf.shape else None


def _rows(tensor: Tensor, rows: Rows, leaf: Leaf) -> Pair | None:
    shape = (rows[1] - rows[0],)
    return rows_of(tensor, rows, leaf, Operation(shape)) if leaf.shape == shape else None


def _sum(tensors: Sequence[Tensor], leaf: Leaf, until: int | None) -> Pair | None:
    """The sum of two biases; from row ``until`` on, the first alone."""
    first, second = (tensor.name for tensor in tensors)
    shape = tensors[0].shape
    if leaf.shape != shape:
        return None
    if until is None:
        return Pair(leaf.number, leaf.text, (Term(first), Term(second)), Operation(shape))
    head, tail = (0, until), (until, shape[0])
    terms = Term(first, head, head), Term(second, head, head), Term(first, tail, tail)
    return Pair(leaf.number, leaf.text, terms, Operation(shape))


def _without_depth(name: str) -> str:
    head, _, depth = name.rpartition("_l")
    return head if head and depth.split("_")[0].isdigit() else name
