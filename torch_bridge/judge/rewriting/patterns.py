"""Small patterns in a program: functions of one value element by element, softmaxes, normalisations, means."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from torch_bridge.judge.rewriting.evaluation import Evaluated
from torch_bridge.judge.rewriting.graph import Graph, Op, Value
from torch_bridge.trace.trace import Array

MOVES = frozenset({
    "broadcast_in_dim", "convert_element_type", "copy", "copy_p", "expand_dims", "name", "optimization_barrier",
    "reduce_precision", "reshape", "squeeze", "stop_gradient", "transpose",
})  # fmt: skip
"""Operations whose results are elements of their operand."""

AFFINE = frozenset({"mul", "div", "add", "sub", "neg", "convert_element_type", "copy", "copy_p", "name",
                    "stop_gradient"})  # fmt: skip
ELEMENTWISE = AFFINE | {
    "max", "min", "exp", "exp2", "log", "log1p", "expm1", "tanh", "logistic", "erf", "erfc", "sqrt", "rsqrt", "cbrt",
    "abs", "sign", "square", "integer_pow", "pow", "select_n", "gt", "ge", "lt", "le", "eq", "ne", "and", "or", "not",
    "clamp", "is_finite", "sin", "cos",
}  # fmt: skip
LONGEST = 64
"""The longest scan in whose body something is replaced."""


@dataclass(frozen=True, eq=False)
class Region:
    """A function of one value, element by element.

    Attributes:
        given: the value.
        result: the function of it, of the same shape.
    """

    given: Value
    result: Value


@dataclass(frozen=True, eq=False)
class Softmax:
    """A softmax or its logarithm.

    Attributes:
        given: what it is of.
        result: it; None where there is only the logarithm of the sum.
        axes: over which its exponentials are summed.
        log: it is the logarithm.
    """

    given: Value
    result: Value | None
    axes: tuple[int, ...]
    log: bool


@dataclass(frozen=True, eq=False)
class Normalisation:
    """A value less another one, times the reciprocal of a root.

    Attributes:
        given: the value.
        mean: what is subtracted from it.
        root: ``rsqrt(variance + epsilon)``, or the ``sqrt`` that is divided by.
        under: what the root is of.
        epsilon: what is added to the variance.
        result: the operation that multiplies by the root, or divides by it.
        other: of this operation the operand that holds the root.
        axes: over which `mean` is the mean of `given`; None if it is no mean of it.
    """

    given: Value
    mean: Value
    root: Value
    under: Value
    epsilon: float
    result: Value
    other: Value
    axes: tuple[int, ...] | None


class Patterns:
    """The patterns of a program that has been evaluated."""

    def __init__(self, evaluated: Evaluated) -> None:
        """Look for nothing yet."""
        self.evaluated, self.graph = evaluated, evaluated.graph
        self._roots: dict[Value, Value] = {}
        self._functions: dict[Region, Array] = {}

    @cached_property
    def graphs(self) -> list[Graph]:
        """The graph, and the bodies of its short scans."""
        found = [self.graph]
        for op in self.graph.ops:
            if op.body is not None and op.params["length"] <= LONGEST:
                found.append(op.body)
        return found

    @cached_property
    def ops(self) -> list[Op]:
        """All operations, with those in the bodies of short scans."""
        return [op for graph in self.graphs for op in graph.ops]

    def array(self, value: Value) -> Array | None:
        """The numbers of a value; None within a scan."""
        known = value.constant is not None or value in self.evaluated.base
        return np.asarray(self.evaluated.value(value)) if known else None

    def scalar(self, value: Value) -> float | None:
        """The one number that a constant value holds in all its elements; None for another value."""
        while value.fixed and value.constant is None and value.name in MOVES:
            value = value.inputs[0]
        array = self.array(value) if value.fixed else None
        if array is None or not array.size or array.dtype.kind not in "fiub":
            return None
        if not np.array_equal(array, np.full_like(array, array.flat[0]), equal_nan=array.dtype.kind == "f"):
            return None
        return float(array.flat[0])

    def root(self, value: Value) -> Value:
        """The value of which this one is a function element by element, as far back as that holds; itself if none."""
        if value not in self._roots:
            self._roots[value] = self._root(value)
        return self._roots[value]

    def _root(self, value: Value) -> Value:
        if value.op is None or value.fixed or value.op.name not in ELEMENTWISE:
            return value
        roots = {self.root(x) for x in value.inputs if not x.fixed}
        if len(roots) != 1 or any(x.shape != value.shape for x in value.inputs if not x.fixed):
            return value
        (root,) = roots
        plain = all(self.scalar(x) is not None for x in value.inputs if x.fixed)
        return root if plain and root.shape == value.shape else value

    def between(self, given: Value, result: Value) -> list[Op]:
        """The operations of a region, the last one first."""
        found, waiting = dict[Op, None](), [result]
        while waiting:
            value = waiting.pop()
            if value is not given and value.op is not None and not value.fixed and value.op not in found:
                found[value.op] = None
                waiting.extend(value.inputs)
        return list(found)

    @cached_property
    def regions(self) -> list[Region]:
        """Functions of one value that are no straight lines: as large as can be, those that are called, single ones."""
        found: dict[tuple[Value, Value], Region] = {}
        for graph in self.graphs:
            for value in graph.values():
                root = self.root(value)
                ends = not value.users or any(self.root(x) is not root for op in value.users for x in op.outputs)
                if root is not value and ends:
                    found.setdefault((root, value), Region(root, value))
            for call in graph.calls:
                given = [x for x in call.inputs if not x.fixed]
                result = call.outputs[0] if len(call.outputs) == 1 else None
                if result is not None and len(given) == 1 and self.root(result) is self.root(given[0]) is not result:
                    found.setdefault((given[0], result), Region(given[0], result))
            for op in graph.ops:
                given = [x for x in op.inputs if not x.fixed]
                if op.name in ("tanh", "logistic", "max") and len(given) == 1:
                    found.setdefault((given[0], op.outputs[0]), Region(given[0], op.outputs[0]))
        return [x for x in found.values() if x.result.op is not None and x.result.floating and x.given.ndim
                and any(op.name not in AFFINE for op in self.between(x.given, x.result))]  # fmt: skip

    def function(self, region: Region, points: Array) -> Array:
        """A region's function at some points, in float64; always the same ones."""
        if region not in self._functions:
            ops = self.between(region.given, region.result)
            known: dict[Value, Any] = {region.given: points}
            for op in sorted(ops, key=lambda op: op.number):
                scalars = [self.scalar(x) if x.fixed else known[x] for x in op.inputs]
                known[op.outputs[0]] = self.evaluated.applied(op, scalars, points.shape)
            self._functions[region] = np.asarray(known[region.result])
        return self._functions[region]

    @cached_property
    def softmaxes(self) -> list[Softmax]:
        """Every softmax, and every logarithm of a sum of exponentials."""
        return [found for op in self.ops if op.name == "exp" for found in self._softmaxes(op)]

    def _softmaxes(self, op: Op) -> Iterator[Softmax]:
        exponential, (shifted,) = op.outputs[0], op.inputs
        given = shifted
        if shifted.name == "sub" and origin(shifted.inputs[1], {*MOVES, "max", "select_n"}).name == "reduce_max":
            given = shifted.inputs[0]
        for total in exponential.users:
            if total.name != "reduce_sum":
                continue
            axes = tuple(int(axis) for axis in total.params["axes"])
            quotients = [u for u in exponential.users if u.name == "div" and u.inputs[0] is exponential]
            for user in quotients:
                if origin(user.inputs[1], MOVES) is total.outputs[0]:
                    yield Softmax(given, user.outputs[0], axes, False)
            logs = [x for x in reach(total.outputs[0], {*MOVES, "abs"}) if x.name == "log"]
            for log in logs:
                ends = [u for x in (shifted, given) for u in x.users if u.name == "sub"]
                ends = [u for u in ends if u.inputs[0] in (shifted, given) and origin(u.inputs[1], MOVES) is log]
                if ends:
                    yield Softmax(given, ends[0].outputs[0], axes, True)
                else:
                    yield Softmax(given, None, axes, True)

    @cached_property
    def normalisations(self) -> list[Normalisation]:
        """Every value less another one that is multiplied by the reciprocal of a root, or divided by the root."""
        found = []
        for op in self.ops:
            if op.name == "sub" and not op.inputs[0].fixed and op.inputs[1].shape and op.outputs[0].ndim > 1:
                found += list(self._normalisations(op))
        return found

    def _normalisations(self, op: Op) -> Iterator[Normalisation]:
        given, mean = op.inputs
        for user in op.outputs[0].users:
            if user.name not in ("mul", "div"):
                continue
            a, b = user.inputs
            other = b if a is op.outputs[0] else a
            wanted = "rsqrt" if user.name == "mul" else "sqrt"
            through = {*MOVES, "mul"} if user.name == "mul" else MOVES
            for root in before(other, through):
                if root.name == wanted:
                    under = root.inputs[0]
                    numbers = [self.scalar(x) for x in under.inputs] if under.name == "add" else []
                    epsilon = next((x for x in numbers if x is not None), 0.0)
                    yield Normalisation(given, mean, root, under, epsilon, user.outputs[0], other,
                                        self._axes(given, mean))  # fmt: skip
                    break

    def _axes(self, given: Value, mean: Value) -> tuple[int, ...] | None:
        x, m = self.array(given), self.array(mean)
        if x is None or m is None or m.ndim != x.ndim:
            return None
        axes = tuple(i for i in range(x.ndim) if m.shape[i] == 1 and x.shape[i] > 1)
        same = bool(axes) and np.allclose(x.mean(axes, keepdims=True), m, rtol=1e-9, atol=1e-12)
        return axes if same else None


def origin(value: Value, through: Collection[str]) -> Value:
    """Return where a value comes from through operations of some names, by their first operand that is no constant."""
    while value.name in through:
        following = [x for x in value.inputs if not x.fixed]
        if value.name == "select_n":
            following = [x for x in value.inputs[1:] if not x.fixed]
        if not following:
            return value
        value = following[0]
    return value


def before(value: Value, through: Collection[str]) -> Iterator[Value]:
    """Yield a value and what it comes from, as far back as operations of some names go."""
    waiting, seen = [value], {value}
    while waiting:
        value = waiting.pop()
        yield value
        if value.name in through:
            new = dict.fromkeys(x for x in value.inputs if x not in seen)
            seen.update(new)
            waiting.extend(new)


def reach(value: Value, through: Collection[str]) -> Iterator[Value]:
    """Yield what is made of a value: behind operations of some names, also what these lead to."""
    waiting, seen = [value], {value}
    while waiting:
        value = waiting.pop()
        for op in value.users:
            for result in op.outputs:
                if result not in seen:
                    seen.add(result)
                    yield result
                    if op.name in through:
                        waiting.append(result)


def precedes(earlier: Value, later: Value) -> bool:
    """Return True if one value is computed from the other."""
    waiting, seen = [later], {later}
    while waiting:
        value = waiting.pop()
        if value is earlier:
            return True
        new = dict.fromkeys(x for x in value.inputs if x not in seen)
        seen.update(new)
        waiting.extend(new)
    return False
