"""Operations of a jaxpr that are not simply themselves in float64: casts, bits, random numbers, loops, branches."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

from torch_bridge.judge.lanes import Lanes, differs, is_floating, to_wide

if TYPE_CHECKING:
    from torch_bridge.judge.evaluator import Evaluator


def _convert(self: "Evaluator", equation: Any, inputs: list[Lanes]) -> list[Lanes]:
    """A cast between floating types is nothing in float64; a cast to integers is a decision."""
    (x,), params = inputs, equation.params
    target = params["new_dtype"]
    narrow = self.bind(equation.primitive, params, [x.narrow])[0] if self.beside else None
    if jnp.issubdtype(target, jnp.floating) and not jnp.issubdtype(x.wide.dtype, jnp.complexfloating):
        return [Lanes(narrow, x.wide.astype(np.float64))]
    if jnp.issubdtype(target, jnp.complexfloating):
        return [Lanes(narrow, x.wide.astype(np.complex128))]
    lane = Lanes(narrow, self.bind(equation.primitive, params, [x.wide])[0])
    return [self.decided("convert_element_type", lane, differs(x))] if self.beside else [lane]


def _reduce_precision(self: "Evaluator", equation: Any, inputs: list[Lanes]) -> list[Lanes]:
    (x,) = inputs
    return [Lanes(self.bind(equation.primitive, equation.params, [x.narrow])[0] if self.beside else None, x.wide)]


def _bitcast(self: "Evaluator", equation: Any, inputs: list[Lanes]) -> list[Lanes]:
    """Bits belong to the function's own type: a value is brought to it before, and widened after."""
    (x,) = inputs
    source = equation.invars[0].aval.dtype
    operand = x.wide.astype(source) if is_floating(x.wide) else x.wide
    wide = self.bind(equation.primitive, equation.params, [operand])[0]
    narrow = self.bind(equation.primitive, equation.params, [x.narrow])[0] if self.beside else None
    lane = Lanes(narrow, to_wide(wide) if is_floating(wide) else wide)
    return [self.decided("bitcast_convert_type", lane, differs(x))] if self.beside else [lane]


def _drawn(self: "Evaluator", equation: Any, inputs: list[Lanes]) -> list[Lanes]:
    """Random numbers of a floating type: drawn in that type, so that both sides get the same ones."""
    operands = [x.wide.astype(v.aval.dtype) for x, v in zip(inputs, equation.invars, strict=True)]
    drawn = self.bind(equation.primitive, equation.params, operands)
    return [Lanes(x if self.beside else None, to_wide(x)) for x in drawn]


def _select_and_scatter(self: "Evaluator", equation: Any, inputs: list[Lanes]) -> list[Lanes]:
    """The gradient of a maximum over windows: which element it goes to is a decision."""
    source, operand = inputs
    wide = self.bind(equation.primitive, equation.params, [source.wide, operand.wide])[0]
    if not self.beside:
        return [Lanes(None, wide)]
    narrow = self.bind(equation.primitive, equation.params, [source.narrow, operand.narrow])[0]
    chosen = self.bind(equation.primitive, equation.params, [source.wide, to_wide(operand.narrow)])[0]
    self.flips = self.flips + jnp.sum(chosen != wide)
    return [Lanes(narrow, chosen if self.share else wide)]


def parts_of_scan(equation: Any) -> tuple[int, int]:
    """How many of a scan's operands are constants and carry: what it goes through has an axis more than in its body.

    Found by the shapes, since the parameters that count them differ from one JAX to another.
    """
    inner = getattr(equation.params["jaxpr"], "jaxpr", equation.params["jaxpr"])
    outside, inside = equation.invars, inner.invars
    n_through = sum(x.aval.ndim != y.aval.ndim for x, y in zip(outside, inside, strict=True))
    n_carry = sum(x.aval.ndim == y.aval.ndim for x, y in zip(equation.outvars, inner.outvars, strict=True))
    return len(outside) - n_through - n_carry, n_carry


def _scan(self: "Evaluator", equation: Any, inputs: list[Lanes]) -> list[Lanes]:
    params = equation.params
    n_consts, n_carry = parts_of_scan(equation)
    consts, carry, xs = inputs[:n_consts], inputs[n_consts : n_consts + n_carry], inputs[n_consts + n_carry :]

    def body(state: tuple[Any, list[Lanes]], x: list[Lanes]) -> tuple[tuple[Any, list[Lanes]], list[Lanes]]:
        flips, carried = state
        inner = self.inner()
        results = inner.run(params["jaxpr"], [*consts, *carried, *x])
        return (flips + inner.flips, results[:n_carry]), results[n_carry:]

    start = (self.flips, list(carry))
    (self.flips, carry), ys = jax.lax.scan(
        body, start, xs, length=params["length"], reverse=params["reverse"], unroll=params["unroll"]
    )
    return [*carry, *ys]


def _while(self: "Evaluator", equation: Any, inputs: list[Lanes]) -> list[Lanes]:
    params = equation.params
    n_cond, n_body = params["cond_nconsts"], params["body_nconsts"]
    cond_consts, body_consts, carry = inputs[:n_cond], inputs[n_cond : n_cond + n_body], inputs[n_cond + n_body :]

    def going(state: tuple[Any, list[Lanes]]) -> Any:
        (lane,) = self.inner().run(params["cond_jaxpr"], [*cond_consts, *state[1]])
        return lane.narrow if self.share else lane.wide

    def body(state: tuple[Any, list[Lanes]]) -> tuple[Any, list[Lanes]]:
        inner = self.inner()
        results = inner.run(params["body_jaxpr"], [*body_consts, *state[1]])
        return state[0] + inner.flips, results

    self.flips, carry = jax.lax.while_loop(going, body, (self.flips, list(carry)))
    return list(carry)


def _cond(self: "Evaluator", equation: Any, inputs: list[Lanes]) -> list[Lanes]:
    index, *operands = inputs

    def branch(closed: ClosedJaxpr, *given: Lanes) -> tuple[Any, list[Lanes]]:
        inner = self.inner()
        results = inner.run(closed, given)
        return inner.flips, results

    branches = [functools.partial(branch, closed) for closed in equation.params["branches"]]
    flips, results = jax.lax.switch(index.narrow if self.share else index.wide, branches, *operands)
    self.flips = self.flips + flips
    return list(results)


HANDLERS: dict[str, Callable[["Evaluator", Any, list[Lanes]], list[Lanes]]] = {
    "convert_element_type": _convert,
    "reduce_precision": _reduce_precision,
    "bitcast_convert_type": _bitcast,
    "rng_uniform": _drawn,
    "select_and_scatter_add": _select_and_scatter,
    "scan": _scan,
    "while": _while,
    "cond": _cond,
}
"""By the name of the primitive: evaluator, equation and operands -> results."""
