"""Reduce the learning rate when a metric has stopped improving: the schedule that has state."""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from funcsgd.arithmetic import rounded
from funcsgd.arithmetic.float64_words import doubles, from_words, rounded_words, to_words
from funcsgd.hyperparameters import check_nonnegative


class ReduceLROnPlateauState(NamedTuple):
    """State of `ReduceLROnPlateau`; fields are named after the attributes of torch's class.

    Attributes:
        words: uint32, shape ``(2,)``, or ``(n_groups, 2)``; torch's ``group["lr"]``, the bits of a double.
        best: floating scalar, the best metric so far; the worst possible before the first.
        num_bad_epochs: int32 scalar, epochs without improvement.
        cooldown_counter: int32 scalar, epochs left in which bad ones are not counted.
    """

    words: jax.Array
    best: jax.Array
    num_bad_epochs: jax.Array
    cooldown_counter: jax.Array

    @property
    def learning_rate(self) -> jax.Array:
        """The one now in force: floating, shape ``()``, or ``(n_groups,)``."""
        return rounded_words(self.words)


@dataclass(frozen=True)
class ReduceLROnPlateau:
    """Multiply the learning rate by ``factor`` after more than ``patience`` epochs without improvement.

    Equation, at the end of an epoch::

        better = metric < best * (1 - threshold)    min, rel        metric < best - threshold   min, abs
                 metric > best * (threshold + 1)    max, rel        metric > best + threshold   max, abs
        bad = 0 if better else bad + 1;  best = metric if better
        if cooling > 0:     cooling = cooling - 1;  bad = 0
        if bad > patience:  lr = max(lr * factor, min_lr) if that is more than eps lower;  cooling = cooldown;  bad = 0

    Args:
        learning_rate: to begin with; a scalar, or one for each parameter group, shape ``(n_groups,)``.
        mode: whether the metric should get smaller or larger.
        factor: less than 1.
        patience: number of bad epochs tolerated; the next one reduces.
        threshold: least improvement that counts; with "rel" a fraction of the best metric, which is lenient when
            metrics are negative.
        threshold_mode: how it is taken.
        cooldown: number of epochs after a reduction in which bad ones do not count.
        min_lr: lower bound; a scalar, or one for each parameter group.
        eps: smaller reductions are not made; they start the cooldown all the same.

    NaN is never an improvement. Besides its hyperparameters it has two pure functions, `init` and `update`, and
    `scale_by_schedulers` makes an optax transformation of it.

    Raises:
        ValueError: with torch's messages, for values that torch refuses.

    Exactness: bitwise, traced or not, with and without JAX's 64-bit mode: the Python floats of torch's class at every
    epoch, as long as the metric is the same number on both sides. Without the 64-bit mode that is a float32.

    Source: ``torch/optim/lr_scheduler.py``, ``ReduceLROnPlateau``, torch 2.13.0.

    Differs from ``optax.contrib.reduce_on_plateau`` in: (1) patience: optax reduces at bad epoch ``patience``, torch at
    the one after it; (2) a learning rate with a lower bound, not a scale; (3) one threshold, relative or absolute, not
    their sum; (4) the metric may be one to maximise; (5) ``eps``.

    Example:
        >>> plateau = ReduceLROnPlateau(0.5, factor=0.5, patience=1)
        >>> state = plateau.init()
        >>> for metric in [3.0, 2.0, 2.0, 2.0]:
        ...     state = plateau.update(metric, state)
        >>> float(state.learning_rate)
        0.25
    """

    learning_rate: ArrayLike
    mode: Literal["min", "max"] = "min"
    factor: ArrayLike = 0.1
    patience: ArrayLike = 10
    threshold: ArrayLike = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: ArrayLike = 0
    min_lr: ArrayLike = 0.0
    eps: ArrayLike = 1e-8

    needs_metric: ClassVar[bool] = True
    """SequentialLR and ChainedScheduler reject it with torch's error."""

    def __post_init__(self) -> None:
        if not isinstance(self.factor, jax.core.Tracer) and np.asarray(self.factor) >= 1.0:
            raise ValueError("Factor should be < 1.0.")
        if self.mode not in ("min", "max"):
            raise ValueError(f"mode {self.mode} is unknown!")
        if self.threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold mode {self.threshold_mode} is unknown!")
        if not isinstance(self.learning_rate, jax.core.Tracer):
            for value in np.ravel(self.learning_rate):
                check_nonnegative("Invalid learning rate", value)
        groups, min_lrs = np.shape(self.learning_rate), np.shape(self.min_lr)
        if min_lrs not in ((), groups):
            raise ValueError(f"expected {int(np.prod(groups))} min_lrs, got {int(np.prod(min_lrs))}")

    def init(self) -> ReduceLROnPlateauState:
        """Return the state before the first metric."""
        worst = jnp.asarray(np.inf if self.mode == "min" else -np.inf, float)
        return ReduceLROnPlateauState(to_words(self.learning_rate), worst, jnp.int32(0), jnp.int32(0))

    def update(self, metric: ArrayLike, state: ReduceLROnPlateauState) -> ReduceLROnPlateauState:
        """Look at a metric, once an epoch; under ``jit``, ``scan`` or ``vmap`` if you like."""
        metric = jnp.asarray(metric, state.best.dtype)
        with doubles():
            better = self._is_better(metric.astype(jnp.float64), state.best.astype(jnp.float64))
            bad = jnp.where(better, 0, state.num_bad_epochs + 1)
            cooling = state.cooldown_counter > 0
            cooldown_counter = jnp.where(cooling, state.cooldown_counter - 1, state.cooldown_counter)
            bad = jnp.where(cooling, 0, bad)

            lr, floor = from_words(state.words), jnp.asarray(self.min_lr, jnp.float64)
            reduced = rounded(lr * jnp.asarray(self.factor, jnp.float64))
            reduced = jnp.where(floor > reduced, floor, reduced)  # Python's max: a NaN on the right loses
            due = bad > self.patience
            return ReduceLROnPlateauState(
                words=to_words(jnp.where(due & (lr - reduced > self.eps), reduced, lr)),
                best=jnp.where(better, metric, state.best),
                num_bad_epochs=jnp.where(due, 0, bad).astype(jnp.int32),
                cooldown_counter=jnp.where(due, self.cooldown, cooldown_counter).astype(jnp.int32),
            )

    def _is_better(self, metric: jax.Array, best: jax.Array) -> jax.Array:
        threshold = jnp.asarray(self.threshold, jnp.float64)
        if self.mode == "min":
            return metric < (best * (1.0 - threshold) if self.threshold_mode == "rel" else best - threshold)
        return metric > (best * (threshold + 1.0) if self.threshold_mode == "rel" else best + threshold)
