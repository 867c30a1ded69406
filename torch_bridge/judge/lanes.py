"""Values in a function's own type and in float64, side by side."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class CannotWiden(ValueError):
    """A function holds an operation that has no float64 form; the message names it."""


@dataclass(frozen=True)
class Lanes:
    """One value in the function's own type and in float64; the same array twice if it is not floating."""

    narrow: Any
    wide: Any
    error: Any = None  # relative, of the narrow one; kept only to find the line where it grows


jax.tree_util.register_dataclass(Lanes, ["narrow", "wide", "error"], [])


def is_floating(x: Any) -> bool:
    """True for real and complex floating arrays."""
    return bool(jnp.issubdtype(x.dtype, jnp.inexact))


def wide_dtype(dtype: Any) -> Any:
    """Return float64 or complex128 for a floating or complex dtype, and any other as it is."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return np.dtype(np.complex128)
    return np.dtype(np.float64) if jnp.issubdtype(dtype, jnp.floating) else dtype


def to_wide(x: Any) -> Any:
    """Return an array in float64 (complex128) if it is floating."""
    x = x if isinstance(x, jax.Array) else jnp.asarray(x)
    return x.astype(wide_dtype(x.dtype)) if is_floating(x) else x


def as_written(value: Any) -> Any:
    """A narrow number -> the shortest decimal that becomes it, as a double."""
    narrow = np.asarray(value)
    if narrow.ndim or narrow.dtype not in (np.float32, np.float16):
        return narrow.astype(wide_dtype(narrow.dtype))
    return np.float64(str(narrow[()]))


def differs(lane: Lanes) -> bool:
    """True if the two sides may differ; values that do not depend on a floating one are one array."""
    return lane.narrow is not lane.wide
