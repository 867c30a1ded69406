"""Which operations a value of a jaxpr came from, through calls, loops and branches."""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jax.extend.core import ClosedJaxpr
from jax.extend.core import Literal as JaxprLiteral

from torch_bridge.judge.evaluator import CALLS

MOVED = frozenset({
    "broadcast_in_dim", "convert_element_type", "copy", "copy_p", "expand_dims", "name", "optimization_barrier",
    "pvary", "reduce_precision", "reshape", "sharding_constraint", "squeeze", "stop_gradient", "transpose",
})  # fmt: skip
"""Operations whose results are the elements of their operand, all of them, somewhere else or in another type."""

_BODIES = {**CALLS, "scan": "jaxpr", "shard_map": "jaxpr"}  # with the operands of the call, in their order


@dataclass(frozen=True, eq=False)
class Node:
    """The result of an operation.

    Attributes:
        name: of the primitive; ``"literal"``, or ``"given"`` for an argument or a constant.
        inputs: the results that it was made from.
        equation: in a jaxpr; None for what was given.
    """

    name: str
    inputs: tuple["Node", ...] = ()
    equation: Any = None


def flattened(jaxpr: Any) -> list[Node]:
    """Return all operations of a program, bodies of calls, loops and branches among them, in their order.

    What is computed twice from the same operands is one node. The carry of a loop is what it begins with: an operation
    in the body follows from that, and not from itself.
    """
    program = _Program({}, [])
    program.run(jaxpr, [Node("given") for _ in jaxpr.invars])
    return program.nodes


@dataclass(frozen=True)
class _Program:
    """Operations by what they are, and in their order."""

    known: dict[Any, Node]
    nodes: list[Node]

    def run(self, jaxpr: Any, operands: Sequence[Node]) -> list[Node]:
        jaxpr = jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
        values: dict[Any, Node] = dict(zip(jaxpr.invars, operands, strict=True)) | {
            x: Node("given") for x in jaxpr.constvars
        }

        def value(atom: Any) -> Node:
            if not isinstance(atom, JaxprLiteral):
                return values[atom]
            return self.known.setdefault((str(atom.aval), str(atom.val)), Node("literal"))

        for equation in jaxpr.eqns:
            name, params = equation.primitive.name, equation.params
            inputs = [value(x) for x in equation.invars]
            if name in _BODIES:
                results = self.run(params[_BODIES[name]], inputs)
            elif name == "while":
                results = self.run(params["body_jaxpr"], inputs[params["cond_nconsts"] :])
            elif name == "cond":
                branches = [self.run(branch, inputs[1:]) for branch in params["branches"]]
                results = [Node("select_n", (inputs[0], *each), equation) for each in zip(*branches, strict=True)]
            else:
                results = [self.node(equation, inputs)] * len(equation.outvars)
            values.update(zip(equation.outvars, results, strict=True))
        return [value(x) for x in jaxpr.outvars]

    def node(self, equation: Any, inputs: list[Node]) -> Node:
        node = Node(equation.primitive.name, tuple(inputs), equation)
        with contextlib.suppress(TypeError):  # of a parameter that has no hash
            node = self.known.setdefault((node.name, node.inputs, tuple(sorted(equation.params.items()))), node)
        if node.equation is equation:
            self.nodes.append(node)
        return node


def reached(node: Node, through: Collection[str]) -> Iterator[Node]:
    """Yield a node and what it came from, as far back as all operations between are among ``through``.

    Of a quotient the numerator is followed, of a selection what is selected.
    """
    waiting, seen = [node], {node}
    while waiting:
        node = waiting.pop()
        yield node
        if node.name in through:
            inputs = {"div": node.inputs[:1], "select_n": node.inputs[1:]}.get(node.name, node.inputs)
            new = dict.fromkeys(x for x in inputs if x not in seen)
            seen.update(new)
            waiting.extend(new)


def same_elements(node: Node) -> Node:
    """Return where the elements of a value were computed, before they were moved."""
    while node.name in MOVED:
        node = node.inputs[0]
    return node
