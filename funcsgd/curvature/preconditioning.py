"""Diagonal preconditioning: gradients times ``h**-power``, for a curvature ``h`` that is given or estimated."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic import compute_dtype
from funcsgd.curvature.hutchinson import hutchinson_diagonal
from funcsgd.hyperparameters import Hyperparameter, check_scalar, check_unit_interval, value_at
from funcsgd.per_leaf import check_trainable, incremented, zeros_like


class DiagonalInfo(NamedTuple):
    """Measurements of a diagonal preconditioner at its last update.

    Attributes:
        n_nonpositive: int32 scalar, the number of entries of the curvature that are zero, negative or NaN.
        n_floored: int32 scalar, the number of entries that the floor raised; 0 where there is no floor.
        nonfinite: bool scalar: an estimate was infinite or NaN somewhere and has been left out of the average.
    """

    n_nonpositive: jax.Array
    n_floored: jax.Array
    nonfinite: jax.Array


class ScaleByDiagonalState(NamedTuple):
    """State of `scale_by_diagonal`.

    Attributes:
        count: int32 scalar, the number of updates made, at which a schedule of the power is evaluated.
        info: a `DiagonalInfo`.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name, in place of tuple.count
    info: DiagonalInfo


class ScaleByHutchinsonState(NamedTuple):
    """State of `scale_by_hutchinson`.

    Attributes:
        count: int32 scalar, the number of updates made.
        key: a random key, for the next probes.
        weight: floating scalar, the sum of the weights of the estimates in the average: ``1 - decay**n`` after ``n``.
        diagonal: tree, shapes and dtypes of the parameters (float32 for bfloat16 and float16): the weighted sum.
            ``diagonal / weight`` is the estimate.
        info: a `DiagonalInfo`.
    """

    count: jax.Array  # type: ignore[assignment]
    key: jax.Array
    weight: jax.Array
    diagonal: optax.Params
    info: DiagonalInfo


def scale_by_diagonal(h: Any, power: Hyperparameter = 1.0) -> optax.GradientTransformationExtraArgs:
    """Scale gradients by a power of a given diagonal curvature.

    Equation, for each element::

        g = g * h**-power           where h > 0;    g as it is elsewhere

    On a quadratic with Hessian ``diag(h)`` the curvature in effect becomes ``h**(1 - power)``: power 0 is plain
    gradient descent, 1 Newton's method.

    Args:
        h: pytree like the gradients, or a prefix of one: positive curvatures, of shapes that broadcast to the leaves'.
        power: scalar in [0, 1] (number, 0-d array, tracer) or a schedule of the update count, from 0.

    Returns:
        A transformation with a `ScaleByDiagonalState`. Gradients of None stay None. Entries of ``h`` that are not
        positive can only occur where ``h`` is traced: they leave their gradient unchanged, and ``info`` counts them.

    Raises:
        ValueError: at construction for a power outside [0, 1], or an ``h`` that is known and not positive somewhere.

    Exactness: `rounding`; torch has no such rule.

    Source: Zhang et al. 2019, arXiv:1907.04164, section 3, the preconditioner ``H**-p`` of the noisy quadratic model.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = scale_by_diagonal(jnp.array([4.0, 0.25]), power=0.5)
        >>> grads = jnp.array([1.0, 1.0])
        >>> tx.update(grads, tx.init(grads))[0]
        Array([0.5, 2. ], dtype=float32)
    """
    _check_power(power)
    for path, x in jax.tree_util.tree_leaves_with_path(h):
        if not isinstance(x, jax.core.Tracer) and not np.all(np.asarray(x) > 0):
            raise ValueError(
                f"scale_by_diagonal needs positive curvatures, but h{jax.tree_util.keystr(path)} has a minimum of "
                f"{np.min(np.asarray(x))}; take abs(h), or jnp.maximum(h, floor)"
            )

    def init(params: optax.Params) -> ScaleByDiagonalState:
        del params
        return ScaleByDiagonalState(jnp.zeros((), jnp.int32), _no_info())

    def update(
        updates: optax.Updates, state: ScaleByDiagonalState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, ScaleByDiagonalState]:
        del params, extra_args
        p = value_at(power, state.count)
        curvatures = jax.tree.map(jnp.asarray, h)
        scaled = jax.tree.map(lambda x, gs: jax.tree.map(lambda g: _scaled(g, x, p), gs), curvatures, updates)
        info = _no_info()._replace(n_nonpositive=_number(jax.tree.map(lambda x: ~(x > 0), curvatures)))
        return scaled, ScaleByDiagonalState(incremented(state.count), info)

    return optax.GradientTransformationExtraArgs(init, update)


def scale_by_hutchinson(
    power: Hyperparameter = 1.0,
    decay: ArrayLike = 0.99,
    *,
    every: int = 1,
    n_probes: int = 1,
    absolute: bool = True,
    floor: ArrayLike = 1e-3,
    key: jax.Array | int = 0,
    has_aux: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Scale gradients by a power of the Hessian's diagonal, estimated by Hutchinson's probes and averaged over steps.

    Equation, with ``e = hutchinson_diagonal(value_fn, params, key, n_probes)`` at every ``every``-th update::

        s = decay * s + (1 - decay) * e             from s = 0
        w = decay * w + (1 - decay)                 from w = 0
        h = |s / w| if absolute else s / w          unbiased from the first estimate on
        g = g * max(h, floor * max|s / w|)**-power  the second maximum over all elements of all leaves

    A Hessian need not be positive. ``absolute=True`` takes a negative curvature by its size, so that a step leaves a
    saddle along it as fast as it approaches a minimum; ``absolute=False`` raises it to the floor, as it does with
    zeros in both cases. The floor is a fraction, not a curvature: no direction is magnified more than
    ``floor**-power`` beyond the steepest, whatever the scale of the loss. An estimate that is not finite is left out;
    until the first that counts, and where the whole diagonal is zero, gradients pass unchanged.

    Args:
        power: scalar in [0, 1] (number, 0-d array, tracer) or a schedule of the update count, from 0.
        decay: scalar in [0, 1), of the average. 0 keeps the newest estimate.
        every: estimate at the first update and each ``every``-th after it; the others cost no Hessian-vector product
            (but under ``vmap``, where both branches run).
        n_probes: Hessian-vector products of an estimate, at two to three gradients each.
        absolute: what to do with negative curvature.
        floor: scalar in (0, 1], the least curvature as a fraction of the greatest.
        key: a random key, or a seed.
        has_aux: ``value_fn`` returns ``(value, aux)``.

    Returns:
        A transformation with a `ScaleByHutchinsonState`. Its ``update`` needs ``params`` and, as an extra argument,
        ``value_fn``: a function of the parameters. Further extra arguments are ignored.

    Raises:
        ValueError: at construction for values outside their ranges; in ``update`` when ``params`` or ``value_fn`` is
            missing.

    Exactness: `rounding`; torch has no such rule. For parameters of bfloat16 and float16 the average is float32.

    Source: Bekas, Kokiopoulou and Saad 2007, "An estimator for the diagonal of a matrix"; averaged over steps as in
    Yao et al. 2021, AdaHessian, arXiv:2006.00719.

    Differs from AdaHessian in: (1) the average is of the estimates, not of their squares, so that the noise of the
    probes cancels; (2) no momentum and no average over blocks: chain `add_momentum` behind it; (3) the floor.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> loss = lambda w: 0.5 * (jnp.array([4.0, 1.0]) * w**2).sum()
        >>> tx = optax.chain(scale_by_hutchinson(), optax.scale(-1.0))  # Newton's method, for a diagonal Hessian
        >>> params = jnp.array([3.0, -2.0])
        >>> updates, state = tx.update(jax.grad(loss)(params), tx.init(params), params, value_fn=loss)
        >>> optax.apply_updates(params, updates)
        Array([0., 0.], dtype=float32)
    """
    _check_power(power)
    check_scalar("decay", decay)
    check_unit_interval("Invalid decay value {} provided. Please provide a value in [0,1) range.", decay)
    if isinstance(decay, int | float) and decay == 1:
        raise ValueError("decay=1 would give every estimate the weight 0; take a decay below 1, such as 0.99")
    check_unit_interval("Invalid floor value {} provided. Please provide a value in (0,1] range.", floor)
    if isinstance(floor, int | float) and floor == 0:
        raise ValueError("floor=0 would divide by a curvature of 0; take a positive fraction, such as 1e-3")
    if every < 1 or n_probes < 1:
        raise ValueError(f"needs every >= 1 and n_probes >= 1, but got every={every} and n_probes={n_probes}")

    def init(params: optax.Params) -> ScaleByHutchinsonState:
        check_trainable(params)
        zeros = zeros_like(params, lambda p: compute_dtype(jnp.result_type(p)))
        random_key = jax.random.key(key) if isinstance(key, int) else key
        return ScaleByHutchinsonState(jnp.zeros((), jnp.int32), random_key, jnp.zeros(()), zeros, _no_info())

    def update(
        updates: optax.Updates,
        state: ScaleByHutchinsonState,
        params: optax.Params | None = None,
        *,
        value_fn: Callable[..., Any] | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, ScaleByHutchinsonState]:
        del extra_args
        if params is None or value_fn is None:
            raise ValueError(
                "scale_by_hutchinson needs the parameters and the loss: call "
                "tx.update(grads, state, params, value_fn=loss_fn), where loss_fn(params) is the loss of the batch"
            )

        def estimated(state: ScaleByHutchinsonState) -> ScaleByHutchinsonState:
            next_key, probe_key = jax.random.split(state.key)
            estimate = hutchinson_diagonal(value_fn, params, probe_key, n_probes, has_aux=has_aux)
            finite = jnp.array([jnp.all(jnp.isfinite(e)) for e in jax.tree.leaves(estimate)]).all()
            taken_in = jax.tree.map(
                lambda s, e: jnp.where(finite, decay * s + (1 - decay) * e.astype(s.dtype), s).astype(s.dtype),
                state.diagonal,
                estimate,
            )
            weight = jnp.where(finite, decay * state.weight + (1 - decay), state.weight).astype(state.weight.dtype)
            info = state.info._replace(nonfinite=~finite)
            return state._replace(key=next_key, weight=weight, diagonal=taken_in, info=info)

        due = state.count % every == 0
        if every == 1 or not isinstance(due, jax.core.Tracer):  # eagerly a branch would be compiled in every call
            state = estimated(state) if every == 1 or due else state
        else:
            state = jax.lax.cond(due, estimated, lambda state: state, state)

        weight = jnp.where(state.weight > 0, state.weight, 1)
        diagonal = jax.tree.map(lambda s: s / weight.astype(s.dtype), state.diagonal)
        greatest = jnp.max(jnp.array([0.0, *(jnp.max(jnp.abs(x), initial=0) for x in jax.tree.leaves(diagonal))]))
        curvature = jax.tree.map(jnp.abs, diagonal) if absolute else diagonal
        floored = jax.tree.map(lambda x: jnp.maximum(x, (floor * greatest).astype(x.dtype)), curvature)
        p = value_at(power, state.count)
        scaled = jax.tree.map(lambda x, g: _scaled(g, x, p), floored, updates)
        info = state.info._replace(
            n_nonpositive=_number(jax.tree.map(lambda x: ~(x > 0), diagonal)),
            n_floored=_number(jax.tree.map(lambda x, y: x != y, curvature, floored)),
        )
        return scaled, state._replace(count=incremented(state.count), info=info)

    return optax.GradientTransformationExtraArgs(init, update)


def _scaled(g: jax.Array | None, h: jax.Array, power: ArrayLike) -> jax.Array | None:
    if g is None:
        return None
    h = h.astype(compute_dtype(jnp.result_type(g, h)))
    positive = h > 0
    factor = jnp.where(positive, jnp.where(positive, h, 1) ** -jnp.asarray(power, h.dtype), 1)
    return (g * factor).astype(g.dtype)


def _number(tree: Any) -> jax.Array:
    return jnp.asarray(sum((jnp.sum(x, dtype=jnp.int32) for x in jax.tree.leaves(tree)), jnp.int32(0)), jnp.int32)


def _no_info() -> DiagonalInfo:
    return DiagonalInfo(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), jnp.zeros((), bool))


def _check_power(power: Hyperparameter) -> None:
    check_scalar("power", power)
    check_unit_interval("Invalid power value {} provided. Please provide a value in [0,1] range.", power)
