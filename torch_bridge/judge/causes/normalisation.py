"""Normalisations: over other axes, by another variance, with epsilon elsewhere, by statistics of training or not.

``repair(patterns)`` yields the replacements by which the function becomes torch's.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
from jax import lax

from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.rewriting.edit import Edit
from torch_bridge.judge.rewriting.graph import Value
from torch_bridge.judge.rewriting.patterns import Normalisation, Patterns

Edits = tuple[Edit, ...]


def _root(found: Normalisation, of: Callable[[Any], Any]) -> Edit:
    """Its root with ``of(variance + epsilon)`` in place of what it is of."""
    sign = -0.5 if found.root.name == "rsqrt" else 0.5
    return Edit(found.root, (found.under,), lambda v: of(v) ** sign)


def _outside(patterns: Patterns) -> Iterator[Edits]:
    for found in patterns.normalisations:
        if found.epsilon:
            eps, sign = found.epsilon, -1 if found.root.name == "rsqrt" else 1
            yield (Edit(found.root, (found.under,),
                        lambda v, eps=eps, sign=sign: (jnp.sqrt(v - eps) + eps) ** sign),)  # fmt: skip


def _inside(patterns: Patterns) -> Iterator[Edits]:
    """``sqrt(variance) + epsilon`` that is divided by."""
    for op in patterns.ops:
        numbers = [x for x in map(patterns.scalar, op.inputs) if x is not None]
        roots = [x for x in op.inputs if x.name == "sqrt"]
        if op.name == "add" and roots and numbers and 0 < numbers[0] < 1e-1:
            under, eps = roots[0].inputs[0], numbers[0]
            yield (Edit(op.outputs[0], (under,), lambda v, eps=eps: jnp.sqrt(v + eps)),)


def _count(found: Normalisation) -> int:
    size = 1
    for n in found.under.shape:
        size *= n
    total = 1
    for n in found.given.shape:
        total *= n
    return total // max(size, 1)


def _scaled(v: Any, eps: float, share: float) -> Any:
    """``variance * share + epsilon``, from ``variance + epsilon``."""
    return (v - eps) * share + eps


def _unbiased(patterns: Patterns) -> Iterator[Edits]:
    for found in patterns.normalisations:
        if (n := _count(found)) > 1:
            yield (_root(found, functools.partial(_scaled, eps=found.epsilon, share=(n - 1) / n)),)


def _biased(patterns: Patterns) -> Iterator[Edits]:
    for found in patterns.normalisations:
        if (n := _count(found)) > 1:
            yield (_root(found, functools.partial(_scaled, eps=found.epsilon, share=n / (n - 1))),)


def _reads(found: Normalisation) -> tuple[Value, ...]:
    return found.given, found.mean, found.other, found.root


def _product(found: Normalisation, of: Callable[[Any], tuple[Any, Any]]) -> Edit:
    """``(x - mean) * rsqrt(variance + epsilon)`` with another mean and variance, and what else was multiplied by."""
    eps, divides = found.epsilon, found.root.name == "sqrt"

    def make(x: Any, mean: Any, other: Any, root: Any) -> Any:
        del mean
        m, variance = of(x)
        if root.size == other.size:
            root = root.reshape(other.shape)
        fitting = root if root.ndim in (0, other.ndim) else _widened(root, x)
        rest = fitting / other if divides else other / fitting
        return (x - m) * lax.rsqrt(variance + eps) * rest

    return Edit(found.result, _reads(found), make)


def _widened(root: Any, x: Any) -> Any:
    """A root without the axes that were reduced, with them."""
    shape, waiting = [], list(root.shape)
    for n in x.shape:
        shape.append(waiting.pop(0) if waiting and waiting[0] == n else 1)
    return root.reshape(shape)


def _over(axes: tuple[int, ...], centred: bool = True) -> Callable[[Any], tuple[Any, Any]]:
    def of(x: Any) -> tuple[Any, Any]:
        if not centred:
            return 0.0, (x * x).mean(axes, keepdims=True)
        return x.mean(axes, keepdims=True), x.var(axes, keepdims=True)

    return of


def _axes(patterns: Patterns) -> Iterator[Edits]:
    for found in patterns.normalisations:
        n = found.given.ndim
        for size in range(1, n) if found.axes is not None and n <= 5 else ():
            for axes in itertools.combinations(range(n), size):
                if axes != found.axes:
                    yield (_product(found, _over(axes)),)


def _not_centred(patterns: Patterns) -> Iterator[Edits]:
    for found in patterns.normalisations:
        if found.axes is not None:
            yield (_product(found, _over(found.axes, centred=False)),)


def _evaluates(patterns: Patterns) -> Iterator[Edits]:
    """By numbers that the port was given, where torch takes those of the batch: all axes but that of the channels."""
    for found in patterns.normalisations:
        n = found.given.ndim
        if found.axes is None:
            for channel in dict.fromkeys((n - 1, 1, 0)):
                yield (_product(found, _over(tuple(axis for axis in range(n) if axis != channel))),)


def _trains(patterns: Patterns) -> Iterator[Edits]:
    """By the numbers of the batch, where torch takes running ones, which the port has among its arguments."""
    for found in patterns.normalisations:
        channels = [i for i in range(found.given.ndim) if i not in (found.axes or ())]
        if found.axes is None or len(channels) != 1:
            continue
        size = found.given.shape[channels[0]]
        given = [x for x in patterns.graph.arguments if x.floating and x.shape == (size,)]
        shape = tuple(size if i == channels[0] else 1 for i in range(found.given.ndim))
        for mean, variance in itertools.permutations(given, 2):
            values = patterns.array(variance)
            if values is None or (values < 0).any():
                continue

            def make(x: Any, m: Any, other: Any, root: Any, mean: Any, variance: Any,
                     shape: Any = shape, found: Normalisation = found) -> Any:  # fmt: skip
                running = lambda x: (mean.reshape(shape), variance.reshape(shape))  # noqa: E731
                return _product(found, running).make(x, m, other, root)

            yield (Edit(found.result, (*_reads(found), mean, variance), make),)


ENTRIES = (
    Entry("epsilon-inside-root", "forward",
          "Epsilon is added to the variance, under the root; torch adds it to the root.",
          "(x - mean) / (jnp.sqrt(variance) + eps)", _outside),
    Entry("epsilon-outside-root", "forward", "Epsilon is added to the root, torch adds it to the variance under it.",
          "(x - mean) / jnp.sqrt(variance + eps)", _inside),
    Entry("variance-unbiased-in-norm", "forward",
          "The variance that is normalised by is divided by n - 1, torch's by n.", "x.var(axis, ddof=0)", _unbiased),
    Entry("variance-biased-in-norm", "forward",
          "The variance that is normalised by is divided by n, torch's by n - 1.", "x.var(axis, ddof=1)", _biased),
    Entry("norm-axes", "forward", "The normalisation is over other axes than torch's.",
          "mean and variance over torch's axes: the last for LayerNorm, all but the channels for BatchNorm", _axes),
    Entry("norm-centred", "forward", "The normalisation subtracts the mean, torch's RMSNorm does not.",
          "x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + eps)", _not_centred),
    Entry("norm-evaluates", "forward", "BatchNorm normalises by running statistics, torch's by those of the batch.",
          "the module in its mode of training: use_running_average=False", _evaluates),
    Entry("norm-trains", "forward", "BatchNorm normalises by the statistics of the batch, torch's by running ones.",
          "the module in its mode of evaluation: use_running_average=True", _trains),
)  # fmt: skip
