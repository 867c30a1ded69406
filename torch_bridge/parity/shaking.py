"""Monte Carlo arithmetic: the same JAX function with every rounding fallen another way.

Two correct programs for one formula differ in the order of their sums and in the last bit of their operations. To know
how far that alone can move a result, `shaken` runs the function again with each sum taken in a random order and each
inexact result moved by at most one ulp at random. No model of the error is needed, and no tolerance.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var
from jax.extend.core import primitives as p

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

# Calls that are entered, so that the sums inside are met as well.
_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
          "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr", "remat": "jaxpr", "checkpoint": "jaxpr",
          "remat2": "jaxpr"}  # fmt: skip


def shaken(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` with a key as first argument, computed with other roundings.

    Each ``dot_general`` and each sum is taken in a random order of its terms, and each result of an inexact operation
    is moved by one ulp up, down or not at all, independently for every element. Zeros, infinities and NaN stay. The
    arguments themselves are taken as they are. Loops (``scan``, ``while``) and ``cond`` are entered as a whole: their
    results are moved, the roundings inside are not.

    Args:
        function: any traceable function of pytrees; derivatives may be inside it.

    Returns:
        ``shaken_function(key, *args)``, to be compiled by ``jax.jit`` and mapped over keys like any other.

    Source: D. S. Parker, Monte Carlo Arithmetic: exploiting randomness in floating-point arithmetic (1997), random
    rounding; the random order of sums is the part of it that hardware can do for real.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jnp.linspace(0.1, 1.0, 100)
        >>> other = jax.jit(shaken(jnp.sum))(jax.random.key(0), x)
        >>> bool(abs(other - x.sum()) < 1e-5)
        True
    """

    def shaken_function(key: jax.Array, *args: Any) -> Any:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        results = _evaluate(closed.jaxpr, closed.consts, key, *jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return shaken_function


def _evaluate(jaxpr: Jaxpr, consts: list[Any], key: jax.Array, *args: Any) -> list[Any]:
    values: dict[Var, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
    for index, equation in enumerate(jaxpr.eqns):
        operands = [atom.val if isinstance(atom, Literal) else values[atom] for atom in equation.invars]
        results = _apply(equation, operands, jax.random.fold_in(key, index))
        values.update(zip(equation.outvars, results, strict=True))
    return [atom.val if isinstance(atom, Literal) else values[atom] for atom in jaxpr.outvars]


def _apply(equation: Any, operands: list[Any], key: jax.Array) -> list[Any]:
    primitive, params = equation.primitive, equation.params
    if primitive.name in _CALLS:
        inner = params[_CALLS[primitive.name]]
        closed = inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, [])
        return _evaluate(closed.jaxpr, closed.consts, key, *operands)
    order_key, ulp_key = jax.random.split(key)
    if primitive is p.dot_general_p:
        operands = _shuffle_contraction(operands, params["dimension_numbers"][0], order_key)
    elif primitive is p.reduce_sum_p:
        operands = [_shuffle(operands[0], axis, order_key) for axis in params["axes"][:1]] or operands
    results = primitive.bind(*operands, **primitive.get_bind_params(params))
    results = list(results) if primitive.multiple_results else [results]
    if primitive.name in _EXACT:
        return results
    return [_move_by_an_ulp(x, jax.random.fold_in(ulp_key, i)) for i, x in enumerate(results)]


def _shuffle(x: jax.Array, axis: int, key: jax.Array) -> jax.Array:
    return jnp.take(x, jax.random.permutation(key, x.shape[axis]), axis=axis)


def _shuffle_contraction(operands: list[Any], axes: Any, key: jax.Array) -> list[Any]:
    """Put the terms of a product of matrices into another order: both operands alike, along one contracted axis."""
    left, right = axes
    if not left:
        return operands
    return [_shuffle(operands[0], left[0], key), _shuffle(operands[1], right[0], key)]


def _move_by_an_ulp(x: Any, key: jax.Array) -> Any:
    dtype = getattr(x, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
        return x
    if jnp.issubdtype(dtype, jnp.complexfloating):
        real_key, imag_key = jax.random.split(key)
        return jax.lax.complex(_move_by_an_ulp(x.real, real_key), _move_by_an_ulp(x.imag, imag_key))
    integer = jnp.dtype(f"int{dtype.itemsize * 8}")
    ulps = jax.random.randint(key, x.shape, -1, 2, jnp.int8).astype(integer)
    moved = jax.lax.bitcast_convert_type(jax.lax.bitcast_convert_type(x, integer) + ulps, dtype)
    return jnp.where((x == 0) | ~jnp.isfinite(x) | ~jnp.isfinite(moved), x, moved)
