"""Attention: its scale, its causal mask.

``repair(patterns)`` yields the replacements by which the function becomes torch's.
"""

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.rewriting.edit import Edit
from torch_bridge.judge.rewriting.graph import Value
from torch_bridge.judge.rewriting.patterns import MOVES, Patterns, Softmax, before

Edits = tuple[Edit, ...]

_MASKED = -1e4  # a number below which a score is as good as none


def _products(patterns: Patterns, softmax: Softmax) -> Iterator[tuple[Value, int]]:
    """The products of queries and keys that a softmax is of, each with the length of these."""
    for value in before(softmax.given, {*MOVES, "mul", "div", "add", "select_n"}):
        if value.name == "dot_general" and value.op is not None:
            (contracted, _), _ = value.op.params["dimension_numbers"]
            yield value, int(np.prod([value.inputs[0].shape[i] for i in contracted]))


def _scaled(factor: Callable[[int], float]) -> Callable[[Patterns], Iterator[Edits]]:
    def repair(patterns: Patterns) -> Iterator[Edits]:
        for softmax in patterns.softmaxes:
            for value, length in _products(patterns, softmax):
                if softmax.given.ndim > 2:
                    yield (Edit(value, (value,), functools.partial(operator.mul, factor(length))),)

    return repair


def _unmasked(patterns: Patterns, softmax: Softmax) -> Value:
    """The scores in front of a mask."""
    value = softmax.given
    while True:
        following = None
        if value.name == "select_n":
            following = [x for x in value.inputs[1:] if not _far_below(patterns, x)]
        elif value.name == "add":
            following = [x for x in value.inputs if not _is_mask(patterns, x)]
        elif value.name in ("stop_gradient", "copy", "name", "convert_element_type"):
            following = list(value.inputs)
        if not following or len(following) != 1 or following[0].shape != value.shape:
            return value
        value = following[0]


def _far_below(patterns: Patterns, value: Value) -> bool:
    number = patterns.scalar(value)
    return number is not None and number < _MASKED


def _is_mask(patterns: Patterns, value: Value) -> bool:
    array = patterns.array(value) if not value.fixed or value in patterns.evaluated.base else None
    return array is not None and bool((array < _MASKED).any()) and bool(((array == 0) | (array < _MASKED)).all())


def _causal(x: Any) -> Any:
    return jnp.where(jnp.tril(jnp.ones(x.shape[-2:], bool)), x, -jnp.inf)


def _masked(patterns: Patterns, with_mask: bool) -> Iterator[Softmax]:
    for softmax in patterns.softmaxes:
        shape = softmax.given.shape
        square = len(shape) > 2 and shape[-1] == shape[-2] and softmax.given.op is not None
        if square and (_unmasked(patterns, softmax) is not softmax.given) == with_mask:
            yield softmax


def _mask_missing(patterns: Patterns) -> Iterator[Edits]:
    for softmax in _masked(patterns, False):
        yield (Edit(softmax.given, (softmax.given,), _causal),)


def _mask_wrong(patterns: Patterns) -> Iterator[Edits]:
    for softmax in _masked(patterns, True):
        yield (Edit(softmax.given, (_unmasked(patterns, softmax),), _causal),)


def _mask_extra(patterns: Patterns) -> Iterator[Edits]:
    for softmax in _masked(patterns, True):
        yield (Edit(softmax.given, (_unmasked(patterns, softmax),), lambda x: x),)


ENTRIES = (
    Entry("attention-unscaled", "forward", "The scores of attention are not divided by the root of the heads' length.",
          "scores / jnp.sqrt(d)", _scaled(lambda d: d**-0.5)),
    Entry("attention-scaled-twice", "forward",
          "The scores of attention are divided by the heads' length, or twice by its root; torch divides by its root.",
          "scores / jnp.sqrt(d), once", _scaled(lambda d: d**0.5)),
    Entry("causal-mask-missing", "forward", "Attention sees later positions, which torch masks.",
          "jnp.where(jnp.tril(jnp.ones((t, t), bool)), scores, -jnp.inf)", _mask_missing),
    Entry("causal-mask-wrong", "forward",
          "The causal mask is another one than torch's, such as off by one position, or the wrong way round.",
          "jnp.where(jnp.tril(jnp.ones((t, t), bool)), scores, -jnp.inf)", _mask_wrong),
    Entry("causal-mask-extra", "forward", "Attention is masked, torch's sees all positions.",
          "the scores without a mask", _mask_extra),
)  # fmt: skip
