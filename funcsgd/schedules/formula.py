"""One formula for two readers: Python numbers stay doubles, in torch's own arithmetic; arrays go through jax.numpy.

A closed form written with these functions is bit for bit torch's when everything in it is a Python number, and can
be traced, vmapped and differentiated when anything in it is an array.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from funcsgd.hyperparameters import check_scalar

Scalar: TypeAlias = Any
"""A Python number, a 0-d array or a tracer; `Any` to the type checker, so that formulas need no casts."""


def known(*values: Any) -> bool:
    """Return True if no value, nor any in a tuple, is a tracer: the host can calculate with them."""
    return all(known(*v) if isinstance(v, tuple) else not isinstance(v, jax.core.Tracer) for v in values)


def number(name: str, value: Any) -> Any:
    """Return a concrete array of one element as the Python number that it holds; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(number(name, v) for v in value)
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        return value
    check_scalar(name, value)
    return value.reshape(()) if isinstance(value, jax.core.Tracer) else value.item()


def cos(x: Any) -> Any:
    """The cosine: ``math.cos`` of a Python number."""
    return math.cos(x) if isinstance(x, int | float) else jnp.cos(x)


def floor(x: Any) -> Any:
    """The floor: ``math.floor`` of a Python number, an int."""
    return math.floor(x) if isinstance(x, int | float) else jnp.floor(x)


def minimum(a: Any, b: Any) -> Any:
    """The lesser: Python's ``min(a, b)`` of Python numbers."""
    return min(a, b) if isinstance(a, int | float) and isinstance(b, int | float) else jnp.minimum(a, b)


def maximum(a: Any, b: Any) -> Any:
    """The greater: Python's ``max(a, b)`` of Python numbers."""
    return max(a, b) if isinstance(a, int | float) and isinstance(b, int | float) else jnp.maximum(a, b)


def choose(condition: Any, if_true: Callable[[], Any], if_false: Callable[[], Any]) -> Any:
    """Return one of two values; only the chosen one is calculated, and so may divide by zero, if Python can choose."""
    if isinstance(condition, bool):
        return if_true() if condition else if_false()
    return jnp.where(condition, if_true(), if_false())
