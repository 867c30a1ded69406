"""The program of a function as one flat graph of operations, bodies of calls among them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

import jax
import numpy as np
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr
from jax.extend.core import Literal as JaxprLiteral

from torch_bridge.judge.evaluator import CALLS
from torch_bridge.trace.trace import Array

_NOT_THE_PORTS = ("site-packages", "/lib/python", str(Path(__file__).parents[2]))
"""Parts of paths of files that no port is in."""


@dataclass(eq=False)
class Value:
    """A result of an operation, an argument, or a constant.

    Attributes:
        aval: its shape and dtype.
        op: what computes it; None for an argument or a constant.
        index: which of the operation's results, or which argument.
        constant: the array, of a constant; else None.
        fixed: it depends on no argument.
        users: the operations that take it, in their order.
    """

    aval: Any
    op: Optional["Op"] = None
    index: int = 0
    constant: Any = None
    fixed: bool = False
    users: list["Op"] = field(default_factory=list, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.aval.shape)

    @property
    def ndim(self) -> int:
        """The number of its axes."""
        return len(self.shape)

    @property
    def floating(self) -> bool:
        """True for real floating arrays."""
        return bool(jax.numpy.issubdtype(self.aval.dtype, jax.numpy.floating))

    @property
    def name(self) -> str:
        """The name of the primitive that computes it; empty for an argument or a constant."""
        return "" if self.op is None else self.op.name

    @property
    def inputs(self) -> Sequence["Value"]:
        """What it is computed from, directly."""
        return () if self.op is None else self.op.inputs


@dataclass(eq=False)
class Op:
    """An operation.

    Attributes:
        number: its place in the order of the whole graph.
        equation: of the jaxpr.
        inputs: its operands.
        outputs: its results.
        body: of a scan, the graph of its body; else None.
        within: the equations of the calls around it, the innermost first.
    """

    number: int
    equation: Any
    inputs: list[Value]
    outputs: list[Value] = field(default_factory=list)
    body: Optional["Graph"] = None
    within: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        """The name of the primitive."""
        return str(self.equation.primitive.name)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the primitive."""
        return dict(self.equation.params)

    @cached_property
    def line(self) -> str:
        """The line of the port that it comes from, ``"port.py:12"``; that of a library where there is no other."""
        for equation in (self.equation, *self.within):
            traceback = equation.source_info.traceback
            for frame in traceback.frames if traceback is not None else ():
                if not any(part in frame.file_name for part in _NOT_THE_PORTS):
                    return f"{Path(frame.file_name).name}:{frame.line_num}"
        return source_info_util.summarize(self.equation.source_info).rpartition("/")[2].partition(" (")[0]


@dataclass(eq=False)
class Call:
    """A call that is evaluated in line, or as a whole where nothing inside is replaced.

    Attributes:
        equation: of the jaxpr.
        inputs: its operands.
        outputs: its results, which operations inside compute.
        items: what is inside, in order.
        first: the number of its first operation.
        last: the number after its last one.
    """

    equation: Any
    inputs: list[Value]
    outputs: list[Value]
    items: list["Op | Call"]
    first: int
    last: int

    @property
    def name(self) -> str:
        """The name of the function that is called."""
        return str(self.equation.params.get("name", self.equation.primitive.name))


@dataclass(eq=False)
class Graph:
    """A program.

    Attributes:
        arguments: what it is given.
        results: what it returns.
        items: its operations and calls, in order.
        ops: all operations, those inside calls among them, in order.
        calls: all calls, in order.
        first: the number of its first operation.
    """

    arguments: list[Value]
    results: list[Value]
    items: list[Op | Call]
    ops: list[Op]
    calls: list[Call]
    first: int = 0

    def values(self) -> Iterator[Value]:
        """Yield every result of an operation that is no constant, in order; not those within a scan."""
        for op in self.ops:
            for value in op.outputs:
                if not value.fixed:
                    yield value

    def graphs(self) -> Iterator["Graph"]:
        """Yield the graph and those of the scans in it."""
        yield self
        for op in self.ops:
            if op.body is not None:
                yield from op.body.graphs()


def graph_of(closed: ClosedJaxpr, first: int = 0, within: tuple[Any, ...] = ()) -> Graph:
    """Return the graph of a program; its operations are numbered from ``first``.

    Args:
        closed: the program.
        first: the number of its first operation.
        within: the equations of the calls around it, the innermost first.
    """
    arguments = [Value(x.aval, index=i) for i, x in enumerate(closed.jaxpr.invars)]
    builder = _Builder(first, within)
    results, items = builder.run(closed, arguments)
    return Graph(arguments, results, items, builder.ops, builder.calls, first)


@dataclass
class _Builder:
    """Numbers operations as it meets them."""

    number: int
    within: tuple[Any, ...]
    ops: list[Op] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def run(self, closed: Any, operands: Sequence[Value]) -> tuple[list[Value], list[Op | Call]]:
        jaxpr, consts = (closed.jaxpr, closed.consts) if isinstance(closed, ClosedJaxpr) else (closed, [])
        known: dict[Any, Value] = dict(zip(jaxpr.invars, operands, strict=True))
        known.update((x, _constant(x.aval, c)) for x, c in zip(jaxpr.constvars, consts, strict=True))
        items: list[Op | Call] = []

        def value(atom: Any) -> Value:
            return _constant(atom.aval, atom.val) if isinstance(atom, JaxprLiteral) else known[atom]

        for equation in jaxpr.eqns:
            name, inputs = equation.primitive.name, [value(x) for x in equation.invars]
            if name in CALLS:
                start, outside = self.number, self.within
                self.within = (equation, *outside)
                outputs, inside = self.run(equation.params[CALLS[name]], inputs)
                self.within = outside
                call = Call(equation, inputs, outputs, inside, start, self.number)
                items.append(call)
                self.calls.append(call)
            else:
                op = self.op(equation, inputs)
                items.append(op)
                outputs = op.outputs
            known.update(zip(equation.outvars, outputs, strict=True))
        return [value(x) for x in jaxpr.outvars], items

    def op(self, equation: Any, inputs: list[Value]) -> Op:
        op = Op(self.number, equation, inputs, within=self.within)
        self.number += 1
        fixed = all(x.fixed for x in inputs)
        op.outputs = [Value(x.aval, op, i, fixed=fixed) for i, x in enumerate(equation.outvars)]
        if equation.primitive.name == "scan":
            body = equation.params["jaxpr"]
            op.body = graph_of(
                body if isinstance(body, ClosedJaxpr) else ClosedJaxpr(body, ()), self.number, (equation, *self.within)
            )
            self.number = max([self.number, *(each.number + 1 for g in op.body.graphs() for each in g.ops)])
        self.ops.append(op)
        for x in inputs:
            if op not in x.users:
                x.users.append(op)
        return op


def _constant(aval: Any, constant: Any) -> Value:
    return Value(aval, constant=constant, fixed=True)


def constant_array(value: Value) -> Array:
    """Return a constant in its own dtype."""
    return np.asarray(value.constant, value.aval.dtype)
