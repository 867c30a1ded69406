"""Numbers in the function: a factor that is missing, a constant that is another number, a dropout's scale.

``repair(patterns)`` yields the replacements by which the function becomes torch's; after the values that it is made
from, each takes a number that is fitted.
"""

import operator
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.causes.function import CONSTANT
from torch_bridge.judge.rewriting.edit import Edit
from torch_bridge.judge.rewriting.graph import Value
from torch_bridge.judge.rewriting.patterns import MOVES, Patterns, before

Edits = tuple[Edit, ...]

_OF: dict[str, Callable[[Any, Any], Any]] = {
    "mul": operator.mul, "div": operator.truediv, "add": operator.add, "sub": operator.sub,
}  # fmt: skip
_LARGEST = 1e4  # of a number that may be wrong; larger ones stand for none


def _constants(patterns: Patterns) -> Iterator[Edits]:
    """Numbers that are added to, subtracted from, multiplied with or divide an array."""
    for op in patterns.ops:
        if op.name not in _OF or op.outputs[0].fixed or not op.outputs[0].floating:
            continue
        numbers = [patterns.scalar(x) for x in op.inputs]
        for i, number in enumerate(numbers):
            if number is not None and abs(number) < _LARGEST and op.outputs[0].ndim:
                of = _OF[op.name]
                make = (lambda x, c, of=of: of(c, x)) if i == 0 else (lambda x, c, of=of: of(x, c))
                yield (Edit(op.outputs[0], (op.inputs[1 - i],), make, own=number),)


def _factors(patterns: Patterns) -> Iterator[Edits]:
    for graph in patterns.graphs:
        for value in graph.values():
            if (
                value.floating
                and value.ndim > 1
                and value.name in ("dot_general", "conv_general_dilated", "gather", "add")
            ):
                yield (Edit(value, (value,), operator.mul, own=1.0),)


def _is_mask(patterns: Patterns, value: Value) -> bool:
    array = patterns.array(value)
    return array is not None and array.ndim > 0 and np.unique(array).tolist() in ([0, 1], [False, True])


def _masks(patterns: Patterns) -> Iterator[Edits]:
    """What a mask of zeros and ones is multiplied with, or selects."""
    for op in patterns.ops:
        value = op.outputs[0] if op.outputs else None
        if value is None or value.fixed or not value.floating or op.name not in ("mul", "select_n"):
            continue
        masks = op.inputs[:1] if op.name == "select_n" else op.inputs
        sources = [x for mask in masks for x in before(mask, MOVES)]
        if any(_is_mask(patterns, x) for x in sources if not x.fixed or op.name == "mul"):
            yield (Edit(value, (value,), operator.mul, own=1.0),)


ENTRIES = (
    Entry("dropout-scale", "forward",
          "What a dropout keeps is not divided by the share that is kept, or twice, or by the rate.",
          "jnp.where(kept, x / (1 - p), 0)", _masks,
          "what the dropout keeps has to be multiplied by {torch}, which is 1 / (1 - p) where nothing scales it",
          start=1.0),
    Entry("factor-missing", "forward", "A factor is missing, such as that of an embedding or a temperature.",
          "{torch} * x", _factors, "a factor of {torch} is missing", start=1.0),
)  # fmt: skip
OF_THE_FUNCTION = replace(CONSTANT, repair=_constants, start=1.0)
"""A constant of few bits, which no rounding explains and which `torch_bridge.judge.constants` does not move."""
