"""The quadratic approximation along a direction: alpha*, and how good the step taken is."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from funcsgd.arithmetic import compute_dtype

Curvature: TypeAlias = Callable[[Callable[..., Any], Any, Any], jax.Array]
"""``curvature(value_fn, params, direction) -> d'Hd``, such as `directional_curvature`."""


class QuadraticStepInfo(NamedTuple):
    """Measurements along the direction ``d`` of an update; all floating scalars, NaN where there is no such number.

    ``jax_debug_nans`` stops at those NaNs as at any other: take the stage out while you look for one.

    Attributes:
        step_size: ``alpha* = -d'g / d'Hd``; NaN where the curvature is not positive, or so small that this overflows.
        slope: ``d'g``.
        curvature: ``d'Hd``, with the given damping.
        step_taken: the multiple of ``d`` that the parameters moved by.
        predicted_decrease: ``-(a * d'g + a**2 / 2 * d'Hd)`` for the step taken, undamped.
        realised_decrease: of the update before this one: its value less this one's. The two are of different batches,
            if the batches differ; NaN in the first update.
        relative_step: ``alpha*`` over the learning rate: 1 would have been the step to the minimum.
        normalised_step: ``step_taken / alpha* - 1``: 0 at the minimum along ``d``, -1 no progress, 1 back at the height
            where it began; Cockpit's alpha.
        nonpositive_curvature: bool: ``d'Hd <= 0``.
        ascent: bool: ``d'g >= 0``, so that the minimum lies behind; for ``d = 0`` too.
        zero_direction: bool: ``d = 0``.
        nonfinite: bool: value, slope or curvature is infinite or NaN.
        measured: bool: whether the curvature is of this update; False where an older alpha* was used again.
    """

    step_size: jax.Array
    slope: jax.Array
    curvature: jax.Array
    step_taken: jax.Array
    predicted_decrease: jax.Array
    realised_decrease: jax.Array
    relative_step: jax.Array
    normalised_step: jax.Array
    nonpositive_curvature: jax.Array
    ascent: jax.Array
    zero_direction: jax.Array
    nonfinite: jax.Array
    measured: jax.Array


class Line(NamedTuple):
    """The quadratic approximation along a direction.

    Attributes:
        slope: ``d'g``.
        curvature: ``d'Hd``.
        squared_length: ``d'd``.
    """

    slope: jax.Array
    curvature: jax.Array
    squared_length: jax.Array


def step_dtype(params: Any) -> jnp.dtype[Any]:
    """Return the dtype of everything that is known of a step: the parameters' widest, float32 at least."""
    dtypes = [compute_dtype(jnp.result_type(p)) for p in jax.tree.leaves(params)]
    return jnp.dtype(jnp.result_type(*dtypes)) if dtypes else jnp.dtype(jnp.float32)


def no_info(dtype: jnp.dtype[Any]) -> QuadraticStepInfo:
    """Return the info before the first update; each field an array of its own, so that all can be donated."""
    return QuadraticStepInfo(
        *[jnp.full((), jnp.nan, dtype) for _ in range(8)], *[jnp.zeros((), bool) for _ in range(5)]
    )


def line_along(curvature: Curvature, value_fn: Callable[..., Any], params: Any, grad: Any, d: Any) -> Line:
    """Measure slope, curvature and length along ``d``; a gradient or direction of None counts for nothing."""
    dtype = step_dtype(params)
    d = jax.tree.map(lambda p, x: jnp.zeros_like(p) if x is None else jnp.asarray(x, p.dtype), params, d)
    grad = jax.tree.map(lambda p, x: jnp.zeros_like(p) if x is None else x, params, grad)
    wide_d, wide_grad = optax.tree.cast(d, dtype), optax.tree.cast(grad, dtype)
    measured = jnp.asarray(curvature(value_fn, params, d), dtype)
    return Line(optax.tree.vdot(wide_d, wide_grad), measured, optax.tree.vdot(wide_d, wide_d))


def optimal_step(line: Line) -> jax.Array:
    """Return alpha*, where the line has a minimum within the range of its dtype; NaN elsewhere."""
    has_minimum = (line.curvature > 0) & jnp.isfinite(line.curvature) & jnp.isfinite(line.slope)
    best = -line.slope / jnp.where(has_minimum, line.curvature, 1)
    return jnp.where(has_minimum & jnp.isfinite(best), best, jnp.nan)


def decrease(line: Line, step: jax.Array) -> jax.Array:
    """Return by how much the quadratic falls over a step."""
    return -(step * line.slope + step * step / 2 * line.curvature)
