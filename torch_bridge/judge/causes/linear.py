"""Products and sums: a square weight, a bias, a residual, a parameter that is not used.

``repair(patterns)`` yields the replacements by which the function becomes torch's.
"""

import operator
from collections.abc import Callable, Iterator
from typing import Any

from jax import lax

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.rewriting.edit import Edit
from torch_bridge.judge.rewriting.graph import Graph, Value
from torch_bridge.judge.rewriting.patterns import MOVES, Patterns, origin, precedes

Edits = tuple[Edit, ...]

_MOST = 600  # pairs of values that are tried as a residual
_PRODUCTS = ("dot_general", "conv_general_dilated")
_STREAM = (*_PRODUCTS, "add", "mul", "max", "tanh", "logistic", "select_n", "reshape", "gather", "sub")


def _transposed(patterns: Patterns) -> Iterator[Edits]:
    for op in patterns.ops:
        if op.name != "dot_general":
            continue
        ((left, right), batch) = op.params["dimension_numbers"]
        for side, axes in ((0, left), (1, right)):
            operand = op.inputs[side]
            square = operand.ndim == 2 and operand.shape[0] == operand.shape[1] and len(axes) == 1
            if not square or origin(operand, MOVES).op is not None or any(batch):
                continue
            other = [tuple(left), tuple(right)]
            other[side] = (1 - axes[0],)
            numbers = (tuple(other), ((), ()))
            yield (Edit(op.outputs[0], (op.inputs[0], op.inputs[1]),
                        lambda a, b, numbers=numbers: lax.dot_general(a, b, numbers)),)  # fmt: skip


def _unused(patterns: Patterns) -> Iterator[Value]:
    for argument in patterns.graph.arguments:
        if argument.floating and not argument.users and argument.ndim:
            yield argument


def _with_unused(of: Callable[[Any, Any], Any]) -> Callable[[Patterns], Iterator[Edits]]:
    def repair(patterns: Patterns) -> Iterator[Edits]:
        for argument in _unused(patterns):
            for value in patterns.graph.values():
                if not value.floating or value.ndim <= argument.ndim or value.name not in _STREAM:
                    continue
                for first in range(value.ndim - argument.ndim, 0, -1):
                    if value.shape[first : first + argument.ndim] == argument.shape:
                        shape = (*argument.shape, *(1,) * (value.ndim - first - argument.ndim))
                        make = lambda x, p, shape=shape: of(x, p.reshape(shape))  # noqa: E731
                        yield (Edit(value, (value, argument), make),)

    return repair


def _stream(graph: Graph) -> list[Value]:
    """Values that a residual may be of, or be added to."""
    return [x for x in graph.values() if x.floating and x.ndim > 1 and x.name in _STREAM]


def _residual_missing(patterns: Patterns) -> Iterator[Edits]:
    for graph in patterns.graphs:
        values = [x for x in graph.arguments if x.floating and x.ndim > 1] + _stream(graph)
        later = [(j, v) for j, v in enumerate(values) if v.name in (*_PRODUCTS, "add", "reshape")]
        pairs = [(u, v) for j, v in later for u in reversed(values[:j]) if u.shape == v.shape]
        for u, v in pairs[:_MOST]:
            if precedes(u, v):
                yield (Edit(v, (v, u), operator.add),)


def _residual_extra(patterns: Patterns) -> Iterator[Edits]:
    for op in patterns.ops:
        if op.name == "add" and len({x.shape for x in op.inputs}) == 1 and not any(x.fixed for x in op.inputs):
            a, b = op.inputs
            for u, v in ((a, b), (b, a)):
                if op.outputs[0].ndim > 1 and precedes(u, v):
                    yield (Edit(op.outputs[0], (v,), lambda x: x),)
    for op in patterns.ops:
        if op.name == "add" and len({x.shape for x in op.inputs}) == 1 and op.outputs[0].ndim > 1:
            yield (Edit(op.outputs[0], (op.inputs[0],), lambda x: x),)
            yield (Edit(op.outputs[0], (op.inputs[1],), lambda x: x),)


def _subtracted(patterns: Patterns) -> Iterator[Edits]:
    for op in patterns.ops:
        if op.name in ("add", "sub") and not any(x.fixed for x in op.inputs):
            other = operator.sub if op.name == "add" else operator.add
            yield (Edit(op.outputs[0], tuple(op.inputs), other),)


ENTRIES = (
    Entry("weight-transposed", "forward", "A square weight is not transposed (or is, where torch's is not).",
          "x @ weight.T with torch's weight", _transposed),
    Entry("bias-missing", "forward", "A parameter is not used, which torch adds, such as a bias.",
          "x @ weight.T + bias", _with_unused(operator.add)),
    Entry("scale-missing", "forward", "A parameter is not used, which torch multiplies by, such as that of a norm.",
          "scale * normalised + bias", _with_unused(operator.mul)),
    Entry("residual-missing", "forward", "A residual is missing, which torch adds.", "x + block(x)", _residual_missing),
    Entry("residual-extra", "forward", "A value is added, which torch does not add.", "block(x), without x +",
          _residual_extra),
    Entry("sign-of-a-sum", "forward", "A value is subtracted that torch adds, or the other way round.",
          "a + b for a - b, or the other way round", _subtracted),
)  # fmt: skip
