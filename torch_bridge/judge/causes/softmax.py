"""Softmaxes: over other axes, one too many or too few, with a logarithm or without.

``repair(patterns)`` yields the replacements by which the function becomes torch's.
"""

from collections.abc import Iterator

import jax

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.rewriting.edit import Edit
from torch_bridge.judge.rewriting.patterns import MOVES, Patterns, Softmax, before

Edits = tuple[Edit, ...]


def _whole(patterns: Patterns) -> Iterator[tuple[Softmax, Edit]]:
    """Softmaxes of which there is a value, each with a replacement by itself."""
    for softmax in patterns.softmaxes:
        if softmax.result is not None and softmax.result.shape == softmax.given.shape:
            yield softmax, Edit(softmax.result, (softmax.given,), lambda x: x)


def _axes(patterns: Patterns) -> Iterator[Edits]:
    for softmax, edit in _whole(patterns):
        of = jax.nn.log_softmax if softmax.log else jax.nn.softmax
        for axis in range(softmax.given.ndim):
            if (axis,) != softmax.axes and softmax.given.shape[axis] > 1:
                make = lambda x, of=of, axis=axis: of(x, axis=axis)  # noqa: E731
                yield (Edit(edit.at, edit.reads, make),)
    for softmax in patterns.softmaxes:  # a loss that has the logarithm of the sum alone
        if softmax.result is None and softmax.given.op is not None:
            for axis in range(softmax.given.ndim - 1):
                yield (Edit(softmax.given, (softmax.given,), lambda x, axis=axis: jax.nn.log_softmax(x, axis)),)


def _extra(patterns: Patterns) -> Iterator[Edits]:
    for _, edit in _whole(patterns):
        yield (edit,)


def _missing(patterns: Patterns) -> Iterator[Edits]:
    for softmax in patterns.softmaxes:
        if softmax.given.op is not None:
            axes = softmax.axes
            yield (Edit(softmax.given, (softmax.given,), lambda x, axes=axes: jax.nn.softmax(x, axis=axes)),)


def _missing_at_end(patterns: Patterns) -> Iterator[Edits]:
    """Where there is no softmax in the loss: in front of what is gathered, or of a logarithm."""
    for graph in patterns.graphs:
        for value in graph.values():
            if value.floating and value.ndim > 1 and any(op.name in ("gather", "log") for op in value.users):
                yield (Edit(value, (value,), lambda x: jax.nn.log_softmax(x, axis=-1)),)
                yield (Edit(value, (value,), lambda x: jax.nn.softmax(x, axis=-1)),)


def _without_log(patterns: Patterns) -> Iterator[Edits]:
    for softmax, edit in _whole(patterns):
        axes = softmax.axes
        if not softmax.log:
            yield (Edit(edit.at, edit.reads, lambda x, axes=axes: jax.nn.log_softmax(x, axis=axes)),)


def _with_log(patterns: Patterns) -> Iterator[Edits]:
    for softmax, edit in _whole(patterns):
        axes = softmax.axes
        if softmax.log:
            yield (Edit(edit.at, edit.reads, lambda x, axes=axes: jax.nn.softmax(x, axis=axes)),)


def _log_of_probabilities(patterns: Patterns) -> Iterator[Edits]:
    """A sigmoid in front of a logarithm, or of what is clipped and subtracted before it."""
    for op in patterns.ops:
        if op.name in ("log", "log1p"):
            for value in before(op.inputs[0], {*MOVES, "sub", "neg", "max", "min", "clamp"}):
                if value.floating and value.op is not None and value.ndim:
                    yield (Edit(value, (value,), jax.nn.sigmoid),)


ENTRIES = (
    Entry("softmax-axis", "forward", "The softmax is over another axis than torch's.", "jax.nn.softmax(x, axis=dim)",
          _axes),
    Entry("softmax-extra", "forward",
          "A softmax is applied that torch lacks, such as in front of a loss that takes logits.",
          "the logits as they are", _extra),
    Entry("softmax-missing", "forward",
          "A softmax is missing that torch applies, such as in front of a loss that takes logits.",
          "jax.nn.softmax(logits)", _missing),
    Entry("log-missing", "forward", "Probabilities are taken where torch takes their logarithms.",
          "jax.nn.log_softmax(logits)", _without_log),
    Entry("log-extra", "forward", "Logarithms of probabilities are taken where torch takes probabilities.",
          "jax.nn.softmax(logits)", _with_log),
    Entry("logits-as-log-probabilities", "loss",
          "The loss takes logits for probabilities or their logarithms, where torch has a softmax between.",
          "jax.nn.log_softmax(logits)", _missing_at_end),
    Entry("logits-as-probabilities", "loss",
          "The loss takes logits for probabilities, where torch has a sigmoid between.",
          "optax.sigmoid_binary_cross_entropy(logits, targets)", _log_of_probabilities),
)  # fmt: skip
