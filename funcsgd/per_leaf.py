"""The loop of every stage over the leaves of a tree: which are taken, and one compiled function for equal ones."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

P = ParamSpec("P")
T = TypeVar("T")


def per_leaf(function: Callable[P, T]) -> Callable[P, T]:
    """Compile the arithmetic of one leaf once for each shape, however many leaves there are and however it is called.

    Called eagerly, a leaf is one dispatch instead of one for each operation, rounded as under ``jit``. Inside ``jit``,
    a leaf that is like one before it is not traced and lowered again.

    Args:
        function: ``function(*leaves, **hyperparameters)`` of arrays, pure. Python numbers and strings among the
            hyperparameters reach it as they are; arrays are traced.

    Returns:
        The same function.
    """

    @functools.wraps(function)
    def call(*leaves: P.args, **hyperparameters: P.kwargs) -> T:
        numbers = tuple((k, v) for k, v in hyperparameters.items() if isinstance(v, bool | int | float | str))
        arrays = {k: v for k, v in hyperparameters.items() if not isinstance(v, bool | int | float | str)}
        out: T = _compiled(function, numbers, leaves, arrays)
        return out

    return call


@functools.partial(jax.jit, static_argnums=(0, 1))
def _compiled(function: Callable[..., Any], numbers: tuple[Any, ...], leaves: Any, arrays: Any) -> Any:
    return function(*leaves, **dict(numbers), **arrays)


incremented = jax.jit(optax.safe_increment)
"""``optax.safe_increment``, one dispatch where it is called eagerly."""


def check_trainable(params: Any) -> None:
    """Refuse leaves that no rule can step, before anything is computed.

    Raises:
        TypeError: a leaf is a key of ``jax.random``, or no array; the message names it and how to leave it out.
    """
    if all(isinstance(getattr(leaf, "dtype", None), np.dtype) for leaf in jax.tree.leaves(params)):
        return  # the quick way for what is there nearly always; the dtype of a key is of another class
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = getattr(leaf, "dtype", None)
        is_key = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
        if not is_key and (dtype is not None or isinstance(leaf, bool | int | float | complex)):
            continue
        name = jax.tree_util.keystr(path) or "the only leaf"
        kind = f"a random key, {leaf!r}" if is_key else f"{leaf!r}, which is no array"
        raise TypeError(
            f"parameter {name} is {kind}: an optimizer cannot step it. Give the optimizer the other leaves only, with "
            "None in the place of this one: eqx.filter(model, eqx.is_inexact_array), nnx.state(model, nnx.Param), or "
            "optax.masked"
        )


def present(updates: Any) -> Any:
    """Return the gradients, with None for those of dtype float0: what ``jax.grad(allow_int=True)`` gives integers."""
    return jax.tree.map(lambda g: None if getattr(g, "dtype", None) == jax.dtypes.float0 else g, updates)


def zeros_like(params: Any, dtype: Callable[[Any], Any] = jnp.result_type) -> Any:
    """Return a tree of zeros, each with the shape of its parameter, and on the devices and shards that it is on.

    Args:
        params: tree of arrays, tracers or numbers; None stays None.
        dtype: from a parameter to the dtype of its zeros.
    """
    return jax.tree.map(lambda p: jnp.zeros_like(p, dtype=dtype(p)), params)


@jax.custom_jvp
def with_tangent_of(value: jax.Array, smooth: jax.Array) -> jax.Array:
    """Return ``value``, with the derivative of ``smooth``.

    For a rule that torch defines apart where a hyperparameter is exactly 0, such as ``g`` instead of
    ``g + weight_decay * p``: the choice has the derivative 0 there, which is not that of the rule around it.
    """
    return value


@with_tangent_of.defjvp
def _with_tangent_of_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    return primals[0], tangents[1]
