"""Schedulers that watch a metric, alone or back to back with others on one learning rate, as an optax stage."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic.float64_words import doubles, from_words, rounded_words, to_words
from funcsgd.per_leaf import present
from funcsgd.schedules import ChainedScheduler, Schedule
from funcsgd.schedules.operations import Operations, operations
from funcsgd.schedules.plateau import ReduceLROnPlateau, ReduceLROnPlateauState
from funcsgd.stages.learning_rate import moved


class ScaleBySchedulersState(NamedTuple):
    """State of `scale_by_schedulers`.

    Attributes:
        count: int32 scalar, the number of updates made.
        last_epoch: int32 scalar, how often the schedulers were stepped; torch's name.
        words: uint32, shape ``(2,)``: the learning rate that the next update takes, the bits of a double; where a
        scheduler watches a metric and an epoch is over, that of the epoch, until the metric is received.
        plateaus: a `ReduceLROnPlateauState` for each `ReduceLROnPlateau`; their ``words`` are what each one left.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name, in place of tuple.count
    last_epoch: jax.Array
    words: jax.Array
    plateaus: tuple[ReduceLROnPlateauState, ...]

    @property
    def learning_rate(self) -> jax.Array:
        """The learning rate that ``words`` holds, a floating scalar."""
        return rounded_words(self.words)


def scale_by_schedulers(
    schedulers: Sequence[Schedule | ReduceLROnPlateau | Operations], n: int, every: ArrayLike = 1
) -> optax.GradientTransformationExtraArgs:
    """Turn a direction into a step downhill, by a learning rate that several schedulers set: the last stage of a rule.

    Equation::

        for scheduler in schedulers:                            in update every, 2 * every, ..., counted from 0
            lr = scheduler(lr), or scheduler(metric, lr)
        u = -lr * d                                             and then optax.apply_updates

    ``metric`` is the newest one; without it ``value`` is taken. It is used between two epochs, where torch
    calls ``scheduler.step(metric)``: in the first update of the new epoch, before that update is made. In all others it
    is not used.

    Without a `ReduceLROnPlateau`, ``tabulate(ChainedScheduler(schedulers), n)`` does the same for less.

    Args:
        schedulers: in the order of their construction in torch, and of their steps; each changes the learning rate
            that the one before it left. They must agree on the one that they begin with. `Operations` list what is done
            in each epoch.
        n: number of epochs, from 1; beyond it the schedules stay at their last value, and those that watch a metric go
            on.
        every: number of updates in an epoch, from 1.

    Returns:
        A transformation with a `ScaleBySchedulersState`, in which `get_learning_rate` finds the learning rate; `sgd`
        takes it in place of one. If there is a `ReduceLROnPlateau`, its ``update`` needs ``metric``, or else
        ``value``, a scalar, by keyword, in every call. `train` passes ``metric``; there ``value`` is the loss of the
        batch.

    Raises:
        ValueError: no schedulers, several learning rates, a schedule with a traced hyperparameter, ``n`` or ``every``
            less than 1; in ``update``, when both are missing.

    Exactness: bitwise for the learning rate: torch's double, kept and calculated as one with and without JAX's 64-bit
    mode, and cast once; see `ReduceLROnPlateau` for the metric. That of `scale_by_learning_rate` for the step.

    Differs from ``optax.contrib.reduce_on_plateau`` in: (1) it replaces the learning rate, instead of scaling updates
    that already have one; (2) the first update uses no metric, as no epoch is over; (3) the metric is one number for
    each epoch, not averaged over its updates; (4) what `ReduceLROnPlateau` does otherwise; (5) the schedules beside it
    act on the reduced learning rate, as in torch.

    Example:
        >>> import jax.numpy as jnp
        >>> from funcsgd import get_learning_rate, sgd
        >>> from funcsgd.schedules import ExponentialLR, ReduceLROnPlateau
        >>> schedulers = [ExponentialLR(0.5, gamma=0.5), ReduceLROnPlateau(0.5, factor=0.5, patience=0)]
        >>> tx = sgd(scale_by_schedulers(schedulers, n=10), momentum=0.9)
        >>> params = jnp.array([1.0])
        >>> state = tx.init(params)
        >>> for _ in range(3):
        ...     _, state = tx.update(params, state, params, value=3.0)
        ...     print(get_learning_rate(state))
        0.5
        0.25
        0.0625
    """
    schedules = [scheduler for scheduler in schedulers if isinstance(scheduler, Schedule)]
    plateaus = [scheduler for scheduler in schedulers if isinstance(scheduler, ReduceLROnPlateau)]
    if not schedulers:
        raise ValueError("scale_by_schedulers expects at least one scheduler, but got none")
    if not isinstance(every, jax.core.Tracer) and every < 1:  # type: ignore[operator]
        raise ValueError(f"an epoch has at least one step, but got every={every}")
    if any(np.shape(plateau.learning_rate) != () for plateau in plateaus):
        raise ValueError("scale_by_schedulers takes one learning rate; give each parameter group a stage of its own")
    rate: ArrayLike | None = plateaus[0].learning_rate if plateaus else None
    written: list[Operations] = []
    if schedules:
        rate, written = operations(ChainedScheduler(schedules, learning_rate=rate), n)
    first: ArrayLike = 0.0 if rate is None else rate
    remaining = iter(written)
    steps = [next(remaining) if isinstance(scheduler, Schedule) else scheduler for scheduler in schedulers]

    def init(params: optax.Params) -> ScaleBySchedulersState:
        del params
        seen = tuple(plateau.init()._replace(words=to_words(first)) for plateau in plateaus)
        return ScaleBySchedulersState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32), to_words(first), seen)

    def stepped(state: ScaleBySchedulersState, metric: jax.Array) -> ScaleBySchedulersState:
        epoch, words, seen = state.last_epoch + 1, state.words, list(state.plateaus)
        for step in steps:
            if isinstance(step, ReduceLROnPlateau):
                seen.append(step.update(metric, seen.pop(0)._replace(words=words)))
                words = seen[-1].words
            else:
                with doubles():
                    words = to_words(step.apply(from_words(words), epoch))
        return ScaleBySchedulersState(state.count, epoch, words, tuple(seen))

    def unchanged(state: ScaleBySchedulersState, value: jax.Array) -> ScaleBySchedulersState:
        del value
        return state

    @jax.jit  # called eagerly, one dispatch for all that is not a leaf
    def advanced(state: ScaleBySchedulersState, metric: jax.Array) -> tuple[ScaleBySchedulersState, jax.Array]:
        """The state for the next update, and the step size of this one."""
        new = jax.lax.cond(state.count // every > state.last_epoch, stepped, unchanged, state, metric)
        step_size = -new.learning_rate
        new = new._replace(count=optax.safe_increment(state.count))
        if not plateaus:  # nothing to wait for: what the next update takes is known
            new = jax.lax.cond(new.count // every > new.last_epoch, stepped, unchanged, new, metric)
        return new, step_size

    def update(
        updates: optax.Updates,
        state: ScaleBySchedulersState,
        params: optax.Params | None = None,
        *,
        value: ArrayLike | None = None,
        metric: ArrayLike | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, ScaleBySchedulersState]:
        del extra_args
        metric = value if metric is None else metric
        if metric is None and plateaus:
            raise ValueError("ReduceLROnPlateau needs the metric: call tx.update(grads, state, params, value=metric)")
        new, step_size = advanced(state, jnp.asarray(0.0 if metric is None else metric))
        return moved(present(updates), params, step_size), new

    return optax.GradientTransformationExtraArgs(init, update)


def scale_by_plateau(plateau: ReduceLROnPlateau, every: ArrayLike = 1) -> optax.GradientTransformationExtraArgs:
    """`scale_by_schedulers` for one `ReduceLROnPlateau`.

    Exactness: that of `scale_by_schedulers`.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from funcsgd import add_momentum
        >>> from funcsgd.schedules import ReduceLROnPlateau
        >>> plateau = ReduceLROnPlateau(0.5, factor=0.5, patience=0)
        >>> tx = optax.chain(add_momentum(0.9), scale_by_plateau(plateau, every=100))
        >>> params = jnp.array([1.0])
        >>> updates, state = tx.update(jnp.array([2.0]), tx.init(params), params, value=3.0)
        >>> updates
        Array([-1.], dtype=float32)
    """
    return scale_by_schedulers([plateau], 1, every)
