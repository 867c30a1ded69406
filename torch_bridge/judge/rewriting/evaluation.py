"""A graph evaluated: all of it while it is traced, or only what follows from a replaced value."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from funcsgd.arithmetic.float64_words import doubles
from torch_bridge.judge.equations import parts_of_scan
from torch_bridge.judge.evaluator import Evaluator
from torch_bridge.judge.lanes import Lanes, is_floating, to_wide, wide_dtype
from torch_bridge.judge.rewriting.edit import Edit
from torch_bridge.judge.rewriting.graph import Call, Graph, Op, Value, constant_array
from torch_bridge.judge.widening import Reading

Known = dict[Value, Any]


class Rewritten:
    """A program with values replaced, in the types of the program; it can be differentiated and compiled."""

    def __init__(self, graph: Graph, edits: Sequence[Edit]) -> None:
        """Take the edits; an earlier one is seen by those after it."""
        self._graph, self._edits = graph, edits
        reads = {x.op.number for edit in edits for x in edit.reads if x.op is not None}
        self._needed = reads | {edit.at.op.number for edit in edits if edit.at.op is not None}

    def __call__(self, *leaves: Any) -> list[Any]:
        """Return the program's results for its arguments."""
        return self._run(self._graph, leaves)

    def _run(self, graph: Graph, leaves: Sequence[Any]) -> list[Any]:
        known: Known = dict(zip(graph.arguments, leaves, strict=True))
        self._items(graph.items, known)
        return [self._value(x, known) for x in graph.results]

    def _items(self, items: Sequence[Op | Call], known: Known) -> None:
        for item in items:
            if isinstance(item, Call) and any(item.first <= n < item.last for n in self._needed):
                self._items(item.items, known)
                continue
            results = self._results(item, [self._value(x, known) for x in item.inputs])
            for value, result in zip(item.outputs, results, strict=True):
                known.setdefault(value, result)
            if isinstance(item, Op):
                self._replace(item, known)

    def _results(self, item: Op | Call, operands: list[Any]) -> Sequence[Any]:
        if isinstance(item, Op) and item.body is not None and self._inside(item):
            return scanned(item, operands, lambda leaves: self._run(item.body, leaves))
        primitive, params = item.equation.primitive, item.equation.params
        results = primitive.bind(*operands, **primitive.get_bind_params(params))
        return results if primitive.multiple_results else [results]

    def _inside(self, op: Op) -> bool:
        assert op.body is not None
        return any(each.number in self._needed for graph in op.body.graphs() for each in graph.ops)

    def _replace(self, op: Op, known: Known) -> None:
        for edit in self._edits:
            if edit.at.op is op:
                known[edit.at] = edit.made([self._value(x, known) for x in edit.reads])

    def _value(self, value: Value, known: Known) -> Any:
        return jnp.asarray(constant_array(value)) if value.constant is not None else known[value]


def scanned(op: Op, operands: Sequence[Any], run: Any) -> list[Any]:
    """Return the results of a scan whose body is another function of its arguments."""
    params = op.params
    n_consts, n_carry = parts_of_scan(op.equation)
    consts, carry, xs = operands[:n_consts], operands[n_consts : n_consts + n_carry], operands[n_consts + n_carry :]

    def body(state: Sequence[Any], x: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        results = run([*consts, *state, *x])
        return results[:n_carry], results[n_carry:]

    carried, ys = jax.lax.scan(body, list(carry), list(xs), params["length"], params["reverse"], params["unroll"])
    return [*carried, *ys]


class Evaluated:
    """A program evaluated once in float64 at its arguments; and again from a replaced value on.

    Attributes:
        graph: of the program.
        base: its values, as it is.
    """

    def __init__(self, graph: Graph, leaves: Sequence[Any], reading: Reading) -> None:
        """Evaluate the program, operation by operation."""
        self.graph = graph
        self._constants: Known = {}
        with doubles():
            self._evaluator = Evaluator(beside=False, share=False, decimal=reading == "as written")
            self.base: Known = {x: self._argument(leaf, x) for x, leaf in zip(graph.arguments, leaves, strict=True)}
            for op in graph.ops:
                self.base.update(zip(op.outputs, self._results(op, self.base, ()), strict=True))

    def changed(self, edits: Sequence[Edit]) -> Known:
        """Return the values that are others once some are replaced.

        Raises:
            Exception: what the replacement raises where it does not fit.
        """
        with doubles(), jax.disable_jit():  # nothing is run often enough to be worth a compilation of its own
            return self._changed(self.graph, self.base, edits)

    def results(self, changed: Mapping[Value, Any]) -> list[Any]:
        """Return the program's results."""
        return [self.value(x, changed) for x in self.graph.results]

    def value(self, value: Value, changed: Mapping[Value, Any] | None = None) -> Any:
        """Return a value, as it is or as changed."""
        if value.constant is not None:
            return self._constant(value)
        return changed[value] if changed and value in changed else self.base[value]

    def applied(self, op: Op, operands: Sequence[Any], shape: tuple[int, ...]) -> Any:
        """Return the result of an operation that works element by element, on operands of another shape."""
        with doubles():
            arrays = [
                Lanes(None, jnp.broadcast_to(jnp.asarray(x, wide_dtype(value.aval.dtype)), shape))
                for x, value in zip(operands, op.inputs, strict=True)
            ]
            return self._evaluator.apply(op.equation, arrays)[0].wide

    def _changed(self, graph: Graph, base: Known, edits: Sequence[Edit]) -> Known:
        changed: Known = {}
        at = {edit.at.op.number for edit in edits if edit.at.op is not None}
        for op in graph.ops:
            inside = op.body is not None and any(e.number in at for g in op.body.graphs() for e in g.ops)
            if inside or any(x in changed for x in op.inputs):
                known = {x: changed.get(x, base.get(x)) for x in op.inputs}
                changed.update(zip(op.outputs, self._results(op, known, edits if inside else ()), strict=True))
            for edit in edits if op.number in at else ():
                if edit.at.op is op:
                    arrays = [self._constant(x) if x.constant is not None else changed.get(x, base.get(x))
                              for x in edit.reads]  # fmt: skip
                    made = edit.made(arrays)
                    if jnp.shape(made) != edit.at.shape:
                        raise ValueError(f"a value of shape {edit.at.shape} cannot become one of {jnp.shape(made)}")
                    changed[edit.at] = made
        return changed

    def _results(self, op: Op, known: Mapping[Value, Any], edits: Sequence[Edit]) -> list[Any]:
        operands = [self._constant(x) if x.constant is not None else known[x] for x in op.inputs]
        if edits:
            return self._unrolled(op, operands, edits)
        return [x.wide for x in self._evaluator.apply(op.equation, [Lanes(None, x) for x in operands])]

    def _unrolled(self, op: Op, operands: list[Any], edits: Sequence[Edit]) -> list[Any]:
        """A scan with something replaced in its body, turn by turn: nothing has to be compiled for it."""
        assert op.body is not None
        body, params = op.body, op.params
        n_consts, n_carry = parts_of_scan(op.equation)
        consts, carry, xs = operands[:n_consts], operands[n_consts : n_consts + n_carry], operands[n_consts + n_carry :]
        turns: list[list[Any]] = []
        for t in range(params["length"])[:: -1 if params["reverse"] else 1]:
            known: Known = dict(zip(body.arguments, [*consts, *carry, *(x[t] for x in xs)], strict=True))
            for each in body.ops:
                known.update(zip(each.outputs, self._results(each, known, ()), strict=True))
            known |= self._changed(body, known, edits)
            results = [self._constant(x) if x.constant is not None else known[x] for x in body.results]
            carry = results[:n_carry]
            turns.append(results[n_carry:])
        turns = turns[:: -1 if params["reverse"] else 1]
        return [*carry, *(jnp.stack(column) for column in zip(*turns, strict=True))]

    def _argument(self, leaf: Any, value: Value) -> Any:
        if jnp.issubdtype(value.aval.dtype, jax.dtypes.extended):
            return leaf
        array = jnp.asarray(leaf)
        return to_wide(leaf) if is_floating(array) else jnp.asarray(leaf, value.aval.dtype)

    def _constant(self, value: Value) -> Any:
        if value not in self._constants:
            with doubles():
                self._constants[value] = self._evaluator.constant(constant_array(value)).wide
        return self._constants[value]
