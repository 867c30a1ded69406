"""The order of axes where an array is reshaped: in front of a flattened image, in heads of attention.

``repair(patterns)`` yields the replacements by which the function becomes torch's.
"""

import itertools
from collections.abc import Iterator

import jax.numpy as jnp

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.rewriting.edit import Edit
from torch_bridge.judge.rewriting.graph import Value
from torch_bridge.judge.rewriting.patterns import Patterns

Edits = tuple[Edit, ...]


def _reshapes(patterns: Patterns) -> Iterator[tuple[Value, Value]]:
    for op in patterns.ops:
        if op.name == "reshape" and not op.outputs[0].fixed and op.outputs[0].floating:
            yield op.inputs[0], op.outputs[0]


def _flattened(patterns: Patterns) -> Iterator[Edits]:
    """Axes after the first in another order, before they are merged; first that of torch's NCHW."""
    for given, result in _reshapes(patterns):
        n = given.ndim
        if n > 2 and result.ndim == 2 and result.shape[0] == given.shape[0]:
            first = (0, n - 1, *range(1, n - 1))
            orders = [(0, *rest) for rest in itertools.permutations(range(1, n))] if n < 5 else [first]
            for order in dict.fromkeys((first, *orders)):
                if order != tuple(range(n)):
                    shape = result.shape
                    make = lambda x, order=order, shape=shape: x.transpose(order).reshape(shape)  # noqa: E731
                    yield (Edit(result, (given,), make),)


def _split(patterns: Patterns) -> Iterator[Edits]:
    """The last axis is split with its two parts the other way round; or further axes are, in another order."""
    for given, result in _reshapes(patterns):
        n, m = given.ndim, result.ndim
        if not 1 < m - n + 1 <= 3 or given.shape[: n - 1] != result.shape[: n - 1]:
            continue
        inner = range(n - 1, m)
        for order in itertools.permutations(inner):
            if order == tuple(inner):
                continue
            before = (*result.shape[: n - 1], *(result.shape[i] for i in order))
            back = (*range(n - 1), *(n - 1 + order.index(i) for i in inner))
            make = lambda x, before=before, back=back: x.reshape(before).transpose(back)  # noqa: E731
            yield (Edit(result, (given,), make),)


def _rows_and_columns(patterns: Patterns) -> Iterator[Edits]:
    """A transpose that torch has where the array is reshaped: merged heads, split batches."""
    for given, result in _reshapes(patterns):
        n = given.ndim
        for i, j in itertools.combinations(range(n), 2) if 2 < n < 6 else ():
            make = lambda x, i=i, j=j, shape=result.shape: jnp.swapaxes(x, i, j).reshape(shape)  # noqa: E731
            yield (Edit(result, (given,), make),)


ENTRIES = (
    Entry("flattened-in-another-order", "forward",
          "Axes are merged in another order than torch's: an image as NHWC, which torch flattens as NCHW.",
          "x.transpose(0, 3, 1, 2).reshape(len(x), -1)", _flattened),
    Entry("heads-split-in-another-order", "forward",
          "The last axis is split into other parts than in torch, such as width by heads in place of heads by width.",
          "x.reshape(b, t, heads, -1)", _split),
    Entry("heads-merged-in-another-order", "forward",
          "Axes are merged without the transpose that torch has, such as heads in front of positions.",
          "x.transpose(0, 2, 1, 3).reshape(b, t, -1)", _rows_and_columns),
)  # fmt: skip
