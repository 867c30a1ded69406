"""Convolutions: their padding, a kernel that is flipped or transposed.

``repair(patterns)`` yields the replacements by which the function becomes torch's.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
from jax import lax

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.rewriting.edit import Edit
from torch_bridge.judge.rewriting.graph import Op
from torch_bridge.judge.rewriting.patterns import Patterns

Edits = tuple[Edit, ...]

_SAME = ("window_strides", "lhs_dilation", "rhs_dilation", "dimension_numbers", "feature_group_count",
         "batch_group_count")  # fmt: skip


def _convolutions(patterns: Patterns) -> Iterator[Op]:
    for op in patterns.ops:
        if op.name == "conv_general_dilated":
            yield op


def _with(op: Op, padding: Any, kernel: Callable[[Any], Any] = lambda k: k, before: Any = lambda x: x) -> Edits:
    params = {key: op.params[key] for key in _SAME}

    def make(x: Any, k: Any) -> Any:
        return lax.conv_general_dilated(before(x), kernel(k), padding=padding, **params)

    return (Edit(op.outputs[0], (op.inputs[0], op.inputs[1]), make),)


def _spatial(op: Op) -> tuple[int, ...]:
    return tuple(op.params["dimension_numbers"].rhs_spec[2:])


def _padding(patterns: Patterns) -> Iterator[Edits]:
    """Padding as torch has it, equal on both sides; first of all that which leaves the shape as it is."""
    for op in _convolutions(patterns):
        padding = tuple((int(a), int(b)) for a, b in op.params["padding"])
        sizes = [op.inputs[1].shape[axis] for axis in _spatial(op)]
        dilated = [(k - 1) * d + 1 for k, d in zip(sizes, op.params["rhs_dilation"], strict=True)]
        wanted = tuple((n // 2, n // 2) for n in dilated)
        for other in dict.fromkeys((wanted, *(((p, p),) * len(padding) for p in range(4)))):
            if other != padding:
                yield _with(op, other)


def _padding_mode(mode: str) -> Callable[[Patterns], Iterator[Edits]]:
    def repair(patterns: Patterns) -> Iterator[Edits]:
        for op in _convolutions(patterns):
            padding = tuple((int(a), int(b)) for a, b in op.params["padding"])
            if any(a or b for a, b in padding):
                axes = op.params["dimension_numbers"].lhs_spec[2:]
                widths = [(0, 0)] * op.inputs[0].ndim
                for axis, width in zip(axes, padding, strict=True):
                    widths[axis] = width
                grow = lambda x, widths=tuple(widths): jnp.pad(x, widths, mode=mode)  # noqa: E731
                yield _with(op, ((0, 0),) * len(padding), before=grow)

    return repair


def _flipped(patterns: Patterns) -> Iterator[Edits]:
    for op in _convolutions(patterns):
        axes = _spatial(op)
        yield _with(op, op.params["padding"], functools.partial(jnp.flip, axis=axes))


def _transposed(patterns: Patterns) -> Iterator[Edits]:
    for op in _convolutions(patterns):
        axes = _spatial(op)
        if len(axes) == 2 and op.inputs[1].shape[axes[0]] == op.inputs[1].shape[axes[1]]:
            yield _with(op, op.params["padding"], functools.partial(jnp.swapaxes, axis1=axes[0], axis2=axes[1]))
        rows, columns = op.params["dimension_numbers"].rhs_spec[:2]
        if op.inputs[1].shape[rows] == op.inputs[1].shape[columns]:
            yield _with(op, op.params["padding"], functools.partial(jnp.swapaxes, axis1=rows, axis2=columns))


ENTRIES = (
    Entry("convolution-padding", "forward",
          "The convolution pads otherwise than torch, such as SAME with a stride of 2, which pads at the end alone.",
          "padding=[(p, p), (p, p)] with torch's padding p", _padding),
    Entry("convolution-padded-with-zeros", "forward", "The convolution pads with zeros, torch's by reflection.",
          "jnp.pad(x, widths, mode='reflect') and padding='VALID'", _padding_mode("reflect")),
    Entry("convolution-not-circular", "forward", "The convolution pads with zeros, torch's is circular.",
          "jnp.pad(x, widths, mode='wrap') and padding='VALID'", _padding_mode("wrap")),
    Entry("kernel-flipped", "forward", "The kernel of a convolution is flipped: torch's convolutions are correlations.",
          "the kernel as it is, without jnp.flip", _flipped),
    Entry("kernel-transposed", "forward", "Two axes of equal length of a convolution's kernel are exchanged.",
          "weight.transpose(2, 3, 1, 0) from torch's layout to HWIO", _transposed),
)  # fmt: skip
