"""Clipping of gradients, by their total norm and by value, with torch's arithmetic."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic import compute_dtype, mul, rounded
from funcsgd.hyperparameters import check_scalar
from funcsgd.observation import shown
from funcsgd.per_leaf import check_trainable, per_leaf, present, with_tangent_of
from funcsgd.stages.gradient_norm import check_summation, get_total_norm


class ClipGradNormInfo(NamedTuple):
    """The findings of `clip_grad_norm` at the last update.

    Attributes:
        total_norm: real scalar, the norm before clipping: what torch's ``clip_grad_norm_`` returns; 0 before the first.
        nonfinite: bool scalar: the norm is infinite or NaN.
    """

    total_norm: jax.Array
    nonfinite: jax.Array


class ClipGradNormState(NamedTuple):
    """State of `clip_grad_norm`: nothing that the next update needs."""

    info: ClipGradNormInfo


def clip_grad_norm(
    max_norm: ArrayLike,
    norm_type: float | str = 2.0,
    error_if_nonfinite: bool = False,
    order: Sequence[str] | None = None,
    summation: Literal["torch", "any"] = "torch",
) -> optax.GradientTransformationExtraArgs:
    """Scale the gradients down where their total norm exceeds a limit.

    Equation::

        t = norm([norm(g) for g in gradients])
        c = min(fl(fl(1 / fl(t + 1e-6)) * max_norm), 1)       a reciprocal and a product: torch's number / array
        g = fl(g * c)                                         always, also where c is 1

    A NaN among the gradients makes all of them NaN; an infinite norm makes them 0, and NaN where they are infinite; a
    negative ``max_norm`` turns them round.

    Args:
        max_norm: scalar; a number, a 0-d array or a tracer.
        norm_type: 2, another number, or ``inf`` or ``"inf"``.
        error_if_nonfinite: leave the gradients as they are where the norm is not finite. torch raises before it changes
            them; so does this outside ``jit``. Inside, look at ``state.info.nonfinite``.
        order: the names of the parameters in torch's order; see `get_total_norm`. For a dict it is needed for equal
            bits.
        summation: "torch" for equal bits, "any" for speed, and for gradients that are sharded over devices; see
            `get_total_norm`.

    Returns:
        A transformation with a `ClipGradNormState`. Gradients of None stay None and count for nothing.

    Raises:
        ValueError: at construction for a non-scalar ``max_norm`` or an unknown ``summation``; in ``update`` for an
            ``order`` that does not fit.
        RuntimeError: in ``update`` outside ``jit``, with torch's message, for a norm that is not finite, where
            ``error_if_nonfinite``.

    Exactness: that of `get_total_norm` for float32 and float64: bitwise for norms 2 and infinity. `rounding` for
    parameters of several dtypes (torch sums their norms in the order of a hash table), complex64, bfloat16 and float16.

    Source: ``torch/nn/utils/clip_grad.py``, ``clip_grad_norm_``, torch 2.13.0.

    Differs from ``optax.clip_by_global_norm`` in: (1) the order of summation; (2) 1e-6, and a product instead of a
    quotient; (3) other norms; (4) the norm can be read from the state; (5) gradients of None.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = clip_grad_norm(2.5)
        >>> grads = jnp.array([3.0, 4.0])
        >>> clipped, state = tx.update(grads, tx.init(grads))
        >>> clipped, state.info.total_norm  # 1e-6 keeps the result below the limit
        (Array([1.4999996, 1.9999995], dtype=float32), Array(5., dtype=float32))
    """
    check_scalar("max_norm", max_norm)
    check_summation(summation)
    norm_type = float(norm_type)

    def init(params: optax.Params) -> ClipGradNormState:
        check_trainable(params)
        dtypes = [compute_dtype(p.real.dtype) for p in map(jnp.asarray, jax.tree.leaves(params))]
        dtype = jnp.result_type(*dtypes) if dtypes else jnp.dtype(jnp.float32)
        return ClipGradNormState(ClipGradNormInfo(jnp.zeros((), dtype), jnp.zeros((), bool)))

    def update(
        updates: optax.Updates, state: ClipGradNormState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, ClipGradNormState]:
        del params, extra_args
        updates = present(updates)
        total_norm = get_total_norm(updates, norm_type, order, summation)
        nonfinite = ~jnp.isfinite(total_norm)
        if error_if_nonfinite and not isinstance(nonfinite, jax.core.Tracer) and nonfinite:
            raise RuntimeError(
                f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
                "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
                "`error_if_nonfinite=False`"
            )
        coefficient = _coefficient(total_norm, max_norm=max_norm)
        kept = {"nonfinite": nonfinite} if error_if_nonfinite else {}
        info = ClipGradNormInfo(total_norm.astype(state.info.total_norm.dtype), nonfinite)
        clipped = jax.tree.map(lambda g: _scaled(g, coefficient=coefficient, **kept), updates)
        return shown("clip", clipped), ClipGradNormState(info)

    return optax.GradientTransformationExtraArgs(init, update)


@per_leaf
def _coefficient(total_norm: jax.Array, *, max_norm: ArrayLike) -> jax.Array:
    dtype = total_norm.dtype
    reciprocal = rounded(1 / (total_norm + jnp.asarray(1e-6, dtype)))
    return jnp.minimum(reciprocal * jnp.asarray(max_norm, dtype).reshape(()), 1)


@per_leaf
def _scaled(g: jax.Array, *, coefficient: jax.Array, nonfinite: jax.Array | None = None) -> jax.Array:
    clipped = mul(g, coefficient)
    return clipped if nonfinite is None else jnp.where(nonfinite, g, clipped)


def clip_grad_value(clip_value: ArrayLike) -> optax.GradientTransformationExtraArgs:
    """Limit each element of the gradients.

    Equation::

        g = min(max(g, -clip_value), clip_value)

    NaN stays NaN. A negative ``clip_value`` turns every element into it, as in torch.

    Args:
        clip_value: scalar; a number, a 0-d array or a tracer.

    Returns:
        A transformation without state. Gradients of None stay None.

    Raises:
        ValueError: at construction for a non-scalar value.

    Exactness: bitwise, for every real dtype and on every backend.

    Source: ``torch/nn/utils/clip_grad.py``, ``clip_grad_value_``, torch 2.13.0.

    Differs from ``optax.clip`` in: gradients of None.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = clip_grad_value(1.0)
        >>> tx.update(jnp.array([3.0, -0.5]), tx.init(None))[0]
        Array([ 1. , -0.5], dtype=float32)
    """
    check_scalar("clip_value", clip_value)

    def clip(updates: optax.Updates, params: optax.Params | None) -> optax.Updates:
        del params
        return shown("clip", jax.tree.map(lambda g: _clamped(g, limit=clip_value), present(updates)))

    return optax.with_extra_args_support(optax.stateless(clip))


@per_leaf
def _clamped(g: jax.Array, *, limit: ArrayLike) -> jax.Array:
    limit = jnp.asarray(limit, g.dtype).reshape(())
    clamped = jnp.minimum(jnp.maximum(g, -limit), limit)
    # at a limit of 0 both ends are equal, and the derivative of the minimum would be a mean of theirs
    smooth = jnp.where((g > limit) | (limit < 0), limit, jnp.where(g < -limit, -limit, g))
    return with_tangent_of(clamped, smooth)
