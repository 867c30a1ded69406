"""Monte Carlo arithmetic: the same JAX function with every rounding fallen another way.

Two correct programs for one formula differ in the order of their sums and in the last bit of their operations. To know
how far that alone can move a result, `shaken` runs the function again with each sum taken in a random order and each
inexact result moved by at most one ulp at random. No model of the error is needed, and no tolerance.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var
from jax.extend.core import primitives as p

from funcsgd.arithmetic.float64_words import doubles

# Operations without a rounding of their own: they move, compare, select or negate. Everything else that yields
# floating point is taken to round; to move an exact result by an ulp too is a lesser fault than to miss a rounding.
_EXACT = {
    "abs", "argmax", "argmin", "bitcast_convert_type", "broadcast_in_dim", "clamp", "complex", "concatenate",
    "convert_element_type", "copy", "copy_p", "cummax", "cummin", "device_put", "dynamic_slice",
    "dynamic_update_slice", "gather", "imag", "iota", "max", "min", "neg", "optimization_barrier", "pad", "real",
    "reduce_max", "reduce_min", "reduce_precision", "reduce_window_max", "reshape", "rev", "select_and_gather_add",
    "select_n", "sharding_constraint", "sign", "slice", "sort", "split", "squeeze", "stop_gradient", "top_k",
    "transpose",
}  # fmt: skip

# Calls that are entered, so that the sums inside are randomised as well.
_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
          "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr", "remat": "jaxpr", "checkpoint": "jaxpr",
          "remat2": "jaxpr"}  # fmt: skip


def shaken(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` with a seed as first argument, computed with other roundings.

    Sums are taken in a random order of their terms along every axis: those of ``reduce_sum``, ``dot_general``, the
    input channels of convolutions, the updates of a scatter-add. Each result of an inexact operation is moved by one
    ulp up, down or not at all. Equal results of one operation are moved alike, so that ties stay ties: a maximum over
    windows keeps its place. Zeros, infinities and NaN stay. The arguments themselves are taken as they are. Loops
    (``scan``, ``while``) and ``cond`` are entered as a whole: their results are moved, the roundings inside are not.

    Args:
        function: any traceable function of pytrees; derivatives may be inside it.

    Returns:
        ``shaken_function(seed, *args)``, ``seed`` a uint32 scalar, to be compiled by ``jax.jit`` and mapped over seeds
        by ``jax.vmap`` like any other.

    Source: D. S. Parker, Monte Carlo Arithmetic: exploiting randomness in floating-point arithmetic (1997), random
    rounding; the random order of sums is the part of it that hardware can do for real.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.linspace(0.1, 1.0, 100)
        >>> other = jax.jit(shaken(jnp.sum))(jnp.uint32(1), x)
        >>> bool(abs(other - x.sum()) < 1e-5)
        True
    """

    def shaken_function(seed: jax.Array, *args: Any) -> Any:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        with doubles():  # the function may hold some, as schedulers do; everything else has its dtype by now
            results = _Shaker(seed).evaluate(closed.jaxpr, closed.consts, *jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return shaken_function


class _Shaker:
    """Evaluates a jaxpr; every equation draws from its own place in one stream of random bits."""

    def __init__(self, seed: jax.Array) -> None:
        self._seed = jnp.asarray(seed, jnp.uint32)
        self._draws = itertools.count(1)

    def evaluate(self, jaxpr: Jaxpr, consts: list[Any], *args: Any) -> list[Any]:
        values: dict[Var, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
        for equation in jaxpr.eqns:
            operands = [_value(atom, values) for atom in equation.invars]
            values.update(zip(equation.outvars, self._apply(equation, operands), strict=True))
        return [_value(atom, values) for atom in jaxpr.outvars]

    def _apply(self, equation: Any, operands: list[Any]) -> list[Any]:
        primitive, params = equation.primitive, equation.params
        if primitive.name in _CALLS:
            inner = params[_CALLS[primitive.name]]
            closed = inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, [])
            return self.evaluate(closed.jaxpr, closed.consts, *operands)
        operands = self._reordered(primitive, params, operands)
        results = primitive.bind(*operands, **primitive.get_bind_params(params))
        results = list(results) if primitive.multiple_results else [results]
        return results if primitive.name in _EXACT else [self._move_by_an_ulp(x) for x in results]

    def _reordered(self, primitive: Any, params: Any, operands: list[Any]) -> list[Any]:
        """Put the terms of a sum into another order."""
        if primitive is p.dot_general_p:
            left, right = params["dimension_numbers"][0]
            for axes in zip(left, right, strict=True):  # both operands alike
                order = self._order(operands[0].shape[axes[0]])
                operands = [jnp.take(x, order, axis=axis) for x, axis in zip(operands, axes, strict=True)]
        elif primitive is p.reduce_sum_p:
            for axis in params["axes"]:
                operands = [jnp.take(operands[0], self._order(operands[0].shape[axis]), axis=axis)]
        elif (
            primitive is p.conv_general_dilated_p and params["feature_group_count"] == params["batch_group_count"] == 1
        ):
            numbers = params["dimension_numbers"]
            axes = numbers.lhs_spec[1], numbers.rhs_spec[1]
            order = self._order(operands[0].shape[axes[0]])
            operands = [jnp.take(x, order, axis=axis) for x, axis in zip(operands, axes, strict=True)]
        elif primitive is p.scatter_add_p and operands[1].ndim > 1:
            window = params["dimension_numbers"].update_window_dims
            batch = [axis for axis in range(operands[2].ndim) if axis not in window]
            if batch and not params["dimension_numbers"].operand_batching_dims:
                order = self._order(operands[2].shape[batch[0]])
                operands = [operands[0], jnp.take(operands[1], order, 0), jnp.take(operands[2], order, batch[0])]
        return operands

    def _bits(self, n: int) -> jax.Array:
        """``n`` random uint32: Murmur3's finaliser of a counter. XLA compiles it some ten times faster than jax.random,
        whose generators are unrolled for each of the many draws; statistics, not secrets, hang on it.
        """
        place = jnp.uint32(next(self._draws) * 0x9E3779B9 & 0xFFFFFFFF)
        return _mixed((jnp.arange(n, dtype=jnp.uint32) ^ (self._seed * jnp.uint32(0x85EBCA6B))) + place)

    def _order(self, n: int) -> jax.Array:
        """A random order of ``n`` terms, ``i -> (a * i + b) mod n`` with ``a`` coprime to ``n``."""
        largest = min(n, 2**31 // max(n, 1)) + 1  # a * i stays below 2**31
        strides = [a for a in range(1, min(largest, 512)) if math.gcd(a, n) == 1] or [1]
        stride, start = self._bits(2)
        modulus = jnp.uint32(max(n, 1))
        a: jax.Array = jnp.asarray(strides, jnp.uint32)[stride % len(strides)]
        order: jax.Array = (a * jnp.arange(n, dtype=jnp.uint32) + start % modulus) % modulus
        return order

    def _move_by_an_ulp(self, x: Any) -> Any:
        dtype = getattr(x, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
            return x
        if jnp.issubdtype(dtype, jnp.complexfloating):
            return jax.lax.complex(self._move_by_an_ulp(x.real), self._move_by_an_ulp(x.imag))
        integer = jnp.dtype(f"int{dtype.itemsize * 8}")
        bits = jax.lax.bitcast_convert_type(x, integer)
        folded = bits ^ (bits >> 32) if dtype.itemsize == 8 else bits
        draws = _mixed(folded.astype(jnp.uint32) ^ self._bits(1)[0])  # of the value, not of the place: ties stay ties
        moved = jax.lax.bitcast_convert_type(bits + (draws % 3).astype(integer) - 1, dtype)
        return jnp.where((x == 0) | ~jnp.isfinite(x) | ~jnp.isfinite(moved), x, moved)


def _mixed(h: jax.Array) -> jax.Array:
    h = (h ^ (h >> 16)) * jnp.uint32(0x85EBCA6B)
    h = (h ^ (h >> 13)) * jnp.uint32(0xC2B2AE35)
    return h ^ (h >> 16)


def _value(atom: Any, values: dict[Var, Any]) -> Any:
    if not isinstance(atom, Literal):
        return values[atom]
    aval: Any = atom.aval
    return np.asarray(atom.val, aval.dtype)
