"""The loss of each example: another function of the error, labels that torch ignores, weights of classes.

``repair(patterns)`` yields the replacements by which the function becomes torch's.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.rewriting.edit import Edit
from torch_bridge.judge.rewriting.graph import Op, Value
from torch_bridge.judge.rewriting.patterns import AFFINE, MOVES, Patterns, before, origin

Edits = tuple[Edit, ...]

_MOST = 12  # values of labels that are tried


def _huber(x: Any, delta: Any) -> Any:
    a = jnp.abs(x)
    return jnp.where(a <= delta, 0.5 * x * x, delta * (a - 0.5 * delta))


_ERRORS: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "squared": ("square, as MSELoss has", "(x - y)**2", lambda e: e * e),
    "absolute": ("absolute value, as L1Loss has", "jnp.abs(x - y)", jnp.abs),
    "huber": ("SmoothL1Loss, with a beta of 1", "optax.huber_loss(x, y, delta=1.0)", lambda e: _huber(e, 1.0)),
}


def _of_errors(patterns: Patterns) -> Iterator[tuple[Value, Value]]:
    """Functions of a difference that are summed."""
    for region in patterns.regions:
        given = region.given
        summed = any(op.name == "reduce_sum" for op in region.result.users)
        if given.name == "sub" and (summed or not any(x.floating and x.ndim for x in _after(region.result))):
            yield given, region.result


def _after(value: Value) -> list[Value]:
    return [x for op in value.users for x in op.outputs]


def _error(name: str) -> Callable[[Patterns], Iterator[Edits]]:
    function = _ERRORS[name][2]

    def repair(patterns: Patterns) -> Iterator[Edits]:
        for given, result in _of_errors(patterns):
            yield (Edit(result, (given,), function),)

    return repair


def _huber_delta(patterns: Patterns) -> Iterator[Edits]:
    for given, result in _of_errors(patterns):
        yield (Edit(result, (given,), _huber),)


def _smooth_l1_beta(patterns: Patterns) -> Iterator[Edits]:
    for given, result in _of_errors(patterns):
        yield (Edit(result, (given,), lambda e, beta: _huber(e, beta) / beta),)


def _means(patterns: Patterns) -> Iterator[tuple[Op, Value]]:
    """Sums of an array of floating numbers to one number, each with the value that is its mean."""
    for op in patterns.ops:
        if op.name == "reduce_sum" and not op.outputs[0].ndim and op.inputs[0].ndim and op.inputs[0].floating:
            end = op.outputs[0]
            for user in end.users:
                if user.name in ("div", "mul") and not user.outputs[0].ndim:
                    yield op, user.outputs[0]
                    break
            else:
                yield op, end


def _labels(patterns: Patterns, size: int) -> Iterator[tuple[Value, list[int]]]:
    """Integers that the function is given, as many as there are losses, and the numbers among them."""
    for argument in patterns.graph.arguments:
        if jnp.issubdtype(argument.aval.dtype, jnp.integer) and math.prod(argument.shape) == size:
            numbers = np.unique(np.asarray(patterns.array(argument)))
            yield argument, [int(number) for number in numbers[:_MOST]]


def _ignored(mean_of_all: bool) -> Callable[[Patterns], Iterator[Edits]]:
    def repair(patterns: Patterns) -> Iterator[Edits]:
        for op, mean in _means(patterns):
            losses = op.inputs[0]
            for labels, numbers in _labels(patterns, math.prod(losses.shape)):
                for number in numbers:

                    def make(e: Any, y: Any, number: int = number) -> Any:
                        kept = y.reshape(e.shape) != number
                        total = jnp.where(kept, e, 0.0).sum()
                        return total / (e.size if mean_of_all else kept.sum())

                    yield (Edit(mean, (losses, labels), make, f"{number}"),)

    return repair


def _over_weights(e: Any, w: Any) -> Any:
    return e.sum() / jnp.broadcast_to(w, e.shape).sum()


def _weights_not_normalised(patterns: Patterns) -> Iterator[Edits]:
    """``sum(w * e) / n`` in place of ``sum(w * e) / sum(w)``."""
    for op, mean in _means(patterns):
        for product in before(op.inputs[0], {*MOVES, "neg"}):
            if product.name == "mul":
                for weights in product.inputs:
                    yield (Edit(mean, (op.inputs[0], weights), _over_weights),)


def _weights_normalised(patterns: Patterns) -> Iterator[Edits]:
    """``sum(w * e) / sum(w)`` in place of ``sum(w * e) / n``."""
    for op, mean in _means(patterns):
        yield (Edit(mean, (op.inputs[0],), lambda e: e.mean()),)


def _weights_left_out(patterns: Patterns) -> Iterator[Edits]:
    """A factor of the losses that torch has not: with it goes what is divided by."""
    for op, mean in _means(patterns):
        for product in before(op.inputs[0], {*MOVES, "neg"}):
            if product.name == "mul" and not any(x.fixed for x in product.inputs):
                for i, losses in enumerate(product.inputs):
                    if losses.shape == op.inputs[0].shape and origin(losses, MOVES | AFFINE).op is not None:
                        sign = -1.0 if op.inputs[0] is not product and op.inputs[0].name == "neg" else 1.0
                        yield (Edit(mean, (losses,), lambda e, s=sign: s * e.mean(), str(i)),)


SMOOTH_L1_BETA = Entry(
    "smooth-l1-beta", "loss", "The beta of SmoothL1Loss is another number, or its division by beta is missing.",
    "optax.huber_loss(x, y, delta={torch}) / {torch}", _smooth_l1_beta,
    "torch's SmoothL1Loss has a beta of {torch}, by which it divides", start=1.0,
)  # fmt: skip
ENTRIES = (
    *(Entry(f"error-not-{name}", "loss", f"Of the error another function is taken than its {words}.", code,
            _error(name))
      for name, (words, code, _) in _ERRORS.items()),
    Entry("ignored-labels-counted", "loss",
          "Examples count whose labels torch ignores (ignore_index), and which its mean leaves out.",
          "jnp.where(y != ignore_index, losses, 0).sum() / (y != ignore_index).sum()", _ignored(False),
          "examples with the label {words} count, torch ignores them (ignore_index)"),
    Entry("ignored-labels-in-the-mean", "loss",
          "Examples count whose labels are ignored, and which the mean keeps among its number.",
          "jnp.where(y != ignored, losses, 0).mean()", _ignored(True),
          "examples with the label {words} count, torch has no loss for them"),
    Entry("class-weights-not-normalised", "loss",
          "The weighted losses are divided by the number of examples; torch divides by the sum of their weights.",
          "(weights[y] * losses).sum() / weights[y].sum()", _weights_not_normalised),
    Entry("class-weights-normalised", "loss",
          "The losses are divided by a sum of weights; torch divides by their number.", "(weights[y] * losses).mean()",
          _weights_normalised),
    Entry("class-weights-extra", "loss", "The losses are weighted, torch's are not.", "losses.mean()",
          _weights_left_out),
    Entry("huber-delta", "loss", "The delta of HuberLoss is another number.", "optax.huber_loss(x, y, delta={torch})",
          _huber_delta, "torch's HuberLoss has a delta of {torch}", start=1.0),
    SMOOTH_L1_BETA,
)  # fmt: skip
