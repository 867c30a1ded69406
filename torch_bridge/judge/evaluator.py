"""A jaxpr evaluated in its own types and in float64, equation by equation."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr, Jaxpr, Var
from jax.extend.core import Literal as JaxprLiteral

from torch_bridge.judge.constants import Constants
from torch_bridge.judge.equations import HANDLERS
from torch_bridge.judge.lanes import CannotWiden, Lanes, as_written, differs, is_floating, to_wide, wide_dtype

CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
          "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr", "custom_vjp_call_jaxpr": "fun_jaxpr",
          "remat": "jaxpr", "checkpoint": "jaxpr", "remat2": "jaxpr", "custom_lin": "jaxpr"}  # fmt: skip
"""Calls that are evaluated in line, and the parameter that holds what they call."""

# Discontinuous functions with a floating result. Where decisions are shared, the result is the narrow side's.
_JUMPS = {"floor", "ceil", "round", "sign"}

# Operations that only move values: an error that shows behind one was there before.
_MOVES = {
    "broadcast_in_dim", "concatenate", "copy", "copy_p", "gather", "neg", "pad", "reshape", "rev", "slice", "squeeze",
    "transpose",
}  # fmt: skip

# Parameters that name a floating type, and parameters that set less than the type's own precision.
_TYPES = ("preferred_element_type", "dtype", "new_dtype")
_PRECISIONS = {"precision": jax.lax.Precision.HIGHEST, "accuracy": None}


@dataclass
class Evaluator:
    """Evaluates a jaxpr on `Lanes`."""

    beside: bool
    share: bool
    decimal: bool
    locate: float | None = None
    constants: Constants | None = None
    lines: list[tuple[str, Any]] = field(default_factory=list)
    names: dict[str, Lanes] = field(default_factory=dict)
    given: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # name -> (is it replaced, by what)
    flips: Any = field(default_factory=lambda: jnp.zeros((), jnp.int64))

    def arguments(self, closed: ClosedJaxpr, leaves: list[Any]) -> list[Lanes]:
        """Return the arguments of a program: floating ones at their exact values on the wide side, others as traced."""
        lanes = []
        for x, aval in zip(leaves, closed.in_avals, strict=True):
            narrow = x if jnp.issubdtype(aval.dtype, jax.dtypes.extended) else jnp.asarray(x, aval.dtype)
            lanes.append(Lanes(narrow if self.beside else None, to_wide(x) if is_floating(narrow) else narrow))
        return lanes

    def run(self, closed: ClosedJaxpr | Jaxpr, operands: Sequence[Lanes]) -> list[Lanes]:
        """Evaluate a program on its arguments."""
        jaxpr, consts = (closed.jaxpr, closed.consts) if isinstance(closed, ClosedJaxpr) else (closed, [])
        values: dict[Var, Lanes] = dict(zip(jaxpr.invars, operands, strict=True))
        values.update(zip(jaxpr.constvars, (self.constant(x) for x in consts), strict=True))
        for equation in jaxpr.eqns:
            inputs = [self.constant(x, equation) if isinstance(x, JaxprLiteral) else values[x] for x in equation.invars]
            outputs = self.apply(equation, inputs)
            if self.locate is not None and equation.primitive.name not in CALLS:
                outputs = self._located(equation, inputs, outputs)
            values.update(zip(equation.outvars, outputs, strict=True))
        return [self.constant(x) if isinstance(x, JaxprLiteral) else values[x] for x in jaxpr.outvars]

    def inner(self) -> "Evaluator":
        """Return an evaluator for the body of a loop: it counts flips from zero, and its names stay inside."""
        # Without lines: those of a loop are its own.
        return Evaluator(self.beside, self.share, self.decimal, constants=self.constants)

    def constant(self, constant: Any, equation: Any = None) -> Lanes:
        """Return a constant of the program, read as this evaluation reads numbers."""
        if isinstance(constant, JaxprLiteral):
            aval: Any = constant.aval
            constant = np.asarray(constant.val, aval.dtype)
        narrow = jnp.asarray(constant)
        wide = jnp.asarray(as_written(constant)) if self.decimal and is_floating(narrow) else to_wide(narrow)
        if self.constants is not None and is_floating(narrow):
            line = "" if equation is None else source_info_util.summarize(equation.source_info)
            wide = self.constants.moved(wide, constant, line)
        return Lanes(narrow if self.beside else None, wide)

    def apply(self, equation: Any, inputs: list[Lanes]) -> list[Lanes]:
        """Return the results of one operation."""
        primitive, params = equation.primitive, equation.params
        name = primitive.name
        if name in CALLS:
            return self.run(params[CALLS[name]], inputs)
        if handler := HANDLERS.get(name):
            return handler(self, equation, [Lanes(x.narrow, x.wide) for x in inputs])
        if name.endswith("callback"):
            if not equation.outvars:  # jax.debug.print and its kin
                return []
            raise CannotWiden(f"{name} calls the host, which has no float64 form")
        if name in ("shard_map", "ffi_call", "pallas_call", "custom_partitioning", "tpu_custom_call"):
            raise CannotWiden(f"{name} holds code that has no float64 form")
        wide = self.bind(primitive, _widened_params(params), [x.wide for x in inputs])
        narrow = self.bind(primitive, params, [x.narrow for x in inputs]) if self.beside else [None] * len(wide)
        lanes = [Lanes(n, w) for n, w in zip(narrow, wide, strict=True)]
        if name == "name":
            self.names.setdefault(params["name"], lanes[0])
            if (given := self.given.get(params["name"])) is not None:
                chosen, value = given
                lanes = [Lanes(lanes[0].narrow, jnp.where(chosen, value, lanes[0].wide))]
        return [self.decided(name, lane, any(map(differs, inputs))) for lane in lanes] if self.beside else lanes

    def bind(self, primitive: Any, params: dict[str, Any], operands: list[Any]) -> list[Any]:
        """Return the results of an operation on arrays."""
        results = primitive.bind(*operands, **primitive.get_bind_params(params))
        return list(results) if primitive.multiple_results else [results]

    def decided(self, name: str, lane: Lanes, from_floating: bool) -> Lanes:
        """Count the decisions that fell differently, and share the narrow side's if that is set."""
        jumps = name in _JUMPS
        if not jumps and is_floating(lane.wide):
            return lane
        if not from_floating or jnp.issubdtype(lane.wide.dtype, jax.dtypes.extended):
            return Lanes(lane.wide, lane.wide) if not jumps else lane
        narrow = to_wide(lane.narrow) if jumps else lane.narrow
        self.flips = self.flips + jnp.sum(narrow != lane.wide)
        return Lanes(lane.narrow, narrow) if self.share else lane

    def _located(self, equation: Any, inputs: list[Lanes], outputs: list[Lanes]) -> list[Lanes]:
        """Note by what factor the error of each result exceeds those of the operands."""
        assert self.locate is not None
        before = functools.reduce(
            jnp.maximum, [x.error for x in inputs if x.error is not None], jnp.asarray(self.locate)
        )
        located = []
        for lane in outputs:
            if not is_floating(lane.wide) or equation.primitive.name in _MOVES:
                located.append(Lanes(lane.narrow, lane.wide, before))
                continue
            error = jnp.linalg.norm((to_wide(lane.narrow) - lane.wide).ravel())
            size = jnp.linalg.norm(lane.wide.ravel())
            relative = jnp.where(size > 0, error / size, 0.0)
            located.append(Lanes(lane.narrow, lane.wide, relative))
            if equation.primitive.name == "reduce_sum":  # a sum may be zero in exact arithmetic, and all of it rounding
                relative = jnp.minimum(relative, error / jnp.linalg.norm(inputs[0].wide.ravel()))
            line = source_info_util.summarize(equation.source_info)
            self.lines.append((f"{line}, {equation.primitive.name}", relative / before))
        return located


def _widened_params(params: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {key: value for key, value in _PRECISIONS.items() if params.get(key) is not None}
    for key in _TYPES:
        if params.get(key) is not None and not jnp.issubdtype(params[key], jax.dtypes.extended):
            changes[key] = wide_dtype(np.dtype(params[key]))
    for key, value in params.items():  # what a reduction or a scatter does to two elements
        if isinstance(value, ClosedJaxpr):
            changes[key] = _widened_jaxpr(value)
        elif isinstance(value, Jaxpr):
            closed = _widened_jaxpr(ClosedJaxpr(value, params.get("update_consts", ())))
            changes |= {key: closed.jaxpr, "update_consts": tuple(closed.consts)}
    return {**params, **changes}


def _widened_jaxpr(closed: ClosedJaxpr) -> ClosedJaxpr:
    def wide(*operands: Any) -> list[Any]:
        evaluator = Evaluator(beside=False, share=False, decimal=False)
        return [x.wide for x in evaluator.run(closed, [Lanes(None, x) for x in operands])]

    shapes = [
        jax.ShapeDtypeStruct(aval.shape, wide_dtype(aval.dtype))  # type: ignore[no-untyped-call]
        for aval in closed.in_avals
    ]
    return jax.make_jaxpr(wide)(*shapes)
