"""Averages of parameters over a run: exponential (EMA) and equal (SWA), with the arithmetics that torch has."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic import div, mul, rounded
from funcsgd.arithmetic import lerp as _lerp
from funcsgd.hyperparameters import Hyperparameter, check_scalar, check_unit_interval, value_at
from funcsgd.per_leaf import per_leaf


class AverageState(NamedTuple):
    """State of `ema` and `swa`.

    Attributes:
        count: int32 scalar, the number of updates seen, those that were passed over included.
        n_averaged: int32 scalar, the number of parameter sets in the average: torch's ``n_averaged``.
        average: tree, shapes and dtypes of the parameters; the parameters given to ``init`` until the first counts.
        buffers: tree, shapes and dtypes of the buffers given to ``init``; ``()`` where there are none.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name, in place of tuple.count
    n_averaged: jax.Array
    average: optax.Params
    buffers: Any


class Average(NamedTuple):
    """A pair of pure functions, like an optax transformation, that follows parameters instead of gradients.

    Attributes:
        init: ``init(params, buffers=()) -> state``; a copy, so that parameters and state can both be donated.
        update: ``update(params, state, buffers=(), when=True) -> state``; the average is ``state.average``. ``when`` is
            a condition, a bool or a traced one: where it is False, the set is passed over and only ``count`` moves on.
    """

    init: Callable[..., AverageState]
    update: Callable[..., AverageState]


def ema(
    decay: Hyperparameter = 0.999,
    weight: ArrayLike | None = None,
    *,
    lerp: bool = False,
    start: int = 0,
    every: int = 1,
    copy_first: bool = True,
    use_buffers: bool = False,
) -> Average:
    """Exponential moving average of parameters.

    Equation, for average ``a`` and parameters ``x``, from the second set on (the first is copied)::

        a = fl(fl(decay * a) + fl(weight * x))             lerp=False: torch's get_ema_avg_fn
        a = fl(a + weight * fl(x - a))                     lerp=True, weight < 0.5: torch's get_ema_multi_avg_fn
        a = fl(x + fl(weight - 1) * fl(x - a))             lerp=True, weight >= 0.5

    Integer leaves are averaged in float32 by the first form and truncated toward zero.

    Args:
        decay: scalar in [0, 1] (number, 0-d array, tracer), or a schedule of ``n_averaged``, which is 1 when the
            second set arrives. ``lerp=True`` uses it only for ``weight``.
        weight: scalar; None is ``1 - decay``, in float64 for a number and in its own dtype for an array. Give it where
            the script spells it out: ``0.99 * avg + 0.01 * param`` is ``ema(0.99, 0.01)``, and ``1 - 0.99`` is another
            number than ``0.01``.
        lerp: which of torch's two arithmetics.
        start: updates passed over at first, as in ``if step >= start: update_parameters(model)``, steps from 0.
        every: after that, each ``every``-th update counts: those numbered start + every, start + 2 * every, from 1.
        copy_first: torch's ``AveragedModel`` copies the first set that counts. False averages it into the parameters
            given to ``init``, as a hand-written loop over a deep copy of the model does.
        use_buffers: average the buffers too. False copies them at each update that counts.

    Returns:
        An `Average`. `with_average` joins it to an optimizer.

    Raises:
        ValueError: at construction for a decay outside [0, 1], with torch's message, a value that is no scalar, a
            negative ``start`` or an ``every`` below 1.

    Exactness: bitwise under ``jit`` on an x86-64 CPU with FMA for float32, float64, integers and the finite
    values of complex64; bfloat16 and float16 `rounding`.

    Source: ``torch/optim/swa_utils.py``, ``get_ema_avg_fn``, ``get_ema_multi_avg_fn`` and
    ``AveragedModel.update_parameters``, torch 2.13.0.

    Differs from ``optax.ema`` in: (1) it averages parameters, not gradients; (2) it starts at the first set, so nothing
    is debiased; (3) the roundings.

    Example:
        >>> import jax.numpy as jnp
        >>> average = ema(0.75)
        >>> state = average.init(jnp.array([0.0]))
        >>> for value in (4.0, 8.0):  # 4, copied; then 0.75 * 4 + 0.25 * 8
        ...     state = average.update(jnp.array([value]), state)
        >>> state.average
        Array([5.], dtype=float32)
    """
    check_scalar("decay", decay)
    check_unit_interval("Invalid decay value {} provided. Please provide a value in [0,1] range.", decay)

    def hyperparameters(n_averaged: jax.Array) -> dict[str, Any]:
        d = value_at(decay, n_averaged)
        return {"decay": d, "weight": 1 - d if weight is None else weight, "lerp": lerp}

    return _average("ema", hyperparameters, start, every, copy_first, use_buffers)


def swa(*, lerp: bool = False, start: int = 0, every: int = 1, use_buffers: bool = False) -> Average:
    """Equal average of parameters: stochastic weight averaging.

    Equation, for average ``a`` of ``n`` sets and parameters ``x``, from the second set on (the first is copied)::

        a = fl(a + fl(fl(x - a) / (n + 1)))                lerp=False: torch's get_swa_avg_fn, its default on a CPU
        a = lerp(a, x, float32(1 / (n + 1)))               lerp=True: torch's get_swa_multi_avg_fn; lerp as in `ema`

    The weight of the second form is a float32 number even for float64 parameters, as it is in torch.

    Args:
        lerp: which of torch's two arithmetics. The second refuses integer leaves.
        start: updates passed over at first, as in ``if step >= start: update_parameters(model)``, steps from 0.
        every: after that, each ``every``-th update counts: the length of a cycle of the learning rate.
        use_buffers: average the buffers too. False copies them at each update that counts. Where buffers are the
            statistics of BatchNorm, `update_bn` is the other way to bring them up to date.

    Returns:
        An `Average`. `with_average` joins it to an optimizer.

    Raises:
        ValueError: at construction for a negative ``start`` or an ``every`` below 1.
        TypeError: in ``update`` for integer leaves where ``lerp=True``, as torch raises.

    Exactness: bitwise under ``jit`` on an x86-64 CPU with FMA for float32, float64 and integers; complex64, bfloat16
    and float16 `rounding`.

    Source: ``torch/optim/swa_utils.py``, ``get_swa_avg_fn``, ``get_swa_multi_avg_fn`` and
    ``AveragedModel.update_parameters``, torch 2.13.0; Izmailov et al. 2018, algorithm 1.

    Example:
        >>> import jax.numpy as jnp
        >>> average = swa(start=1)
        >>> state = average.init(jnp.array([0.0]))
        >>> for value in (100.0, 4.0, 8.0):  # passed over; copied; averaged
        ...     state = average.update(jnp.array([value]), state)
        >>> state.average, int(state.n_averaged)
        (Array([6.], dtype=float32), 2)
    """

    def hyperparameters(n_averaged: jax.Array) -> dict[str, Any]:
        return {"n_averaged": n_averaged, "lerp": lerp}

    return _average("swa", hyperparameters, start, every, True, use_buffers)


def _ema(a: jax.Array, x: jax.Array, *, decay: ArrayLike, weight: ArrayLike, lerp: bool) -> jax.Array:
    if lerp and jnp.issubdtype(a.dtype, jnp.inexact):
        return _lerp(a, x, weight)
    return mul(_floating(a), decay) + mul(_floating(x), weight)


def _swa(a: jax.Array, x: jax.Array, *, n_averaged: jax.Array, lerp: bool) -> jax.Array:
    if not lerp:
        return _floating(a) + div(_floating(x - a), n_averaged + 1)
    if not jnp.issubdtype(a.dtype, jnp.inexact):
        raise TypeError(
            "Integer division with addcdiv is no longer supported: swa(lerp=True) cannot average leaves of dtype "
            f"{a.dtype}; use swa()"
        )
    return _lerp(a, x, 1 / (n_averaged + 1).astype(jnp.float32))


def _average(
    rule: Literal["ema", "swa"],
    hyperparameters: Callable[[jax.Array], dict[str, Any]],
    start: int,
    every: int,
    copy_first: bool,
    use_buffers: bool,
) -> Average:
    if start < 0 or every < 1:
        raise ValueError(f"an average needs start >= 0 and every >= 1, but got start={start} and every={every}")

    def init(params: optax.Params, buffers: Any = ()) -> AverageState:
        def copy(tree: Any) -> Any:
            return jax.tree.map(lambda x: jnp.array(x, jnp.result_type(x), copy=True), tree)

        return AverageState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), copy(params), copy(buffers))

    def update(params: optax.Params, state: AverageState, buffers: Any = (), when: ArrayLike = True) -> AverageState:
        counts, copies, count, n_averaged = _counted(
            state.count, state.n_averaged, when, start=start, every=every, copy_first=copy_first
        )
        of_rule = hyperparameters(state.n_averaged)

        def average(a: jax.Array, x: jax.Array) -> jax.Array:
            return _leaf(a, x, counts, copies, rule=rule, **of_rule)

        def copy(a: jax.Array, x: jax.Array) -> jax.Array:
            return _leaf(a, x, counts, copies, rule="copy")

        return AverageState(
            count,
            n_averaged,
            jax.tree.map(average, state.average, params),
            jax.tree.map(average if use_buffers else copy, state.buffers, buffers),
        )

    return Average(init, update)


@per_leaf
def _counted(
    count: jax.Array, n_averaged: jax.Array, when: ArrayLike, *, start: int, every: int, copy_first: bool
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Whether this set counts, and is copied; both counters after it."""
    count = optax.safe_increment(count)
    counts = (count > start) & ((count - start) % every == 0) & jnp.asarray(when, bool)
    return (
        counts,
        copy_first & (n_averaged == 0),
        count,
        jnp.where(counts, optax.safe_increment(n_averaged), n_averaged),
    )


@per_leaf
def _leaf(
    a: jax.Array, x: jax.Array, counts: jax.Array, copies: jax.Array, *, rule: str, **hyperparameters: Any
) -> jax.Array:
    # What torch reads from memory has been rounded, whatever computed it.
    x = jnp.asarray(x, a.dtype)
    if rule == "copy":
        return jnp.where(counts, x, a)
    x = rounded(x) if jnp.issubdtype(a.dtype, jnp.inexact) else x
    new = (_ema if rule == "ema" else _swa)(a, x, **hyperparameters).astype(a.dtype)
    return jnp.where(counts, jnp.where(copies, x, new), a)


def _floating(x: jax.Array) -> jax.Array:
    """Integers become torch's default dtype, float32, as in torch in arithmetic with a number."""
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.float32)
