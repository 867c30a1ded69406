"""A learning rate that a rule calculates with in float64, as torch does in Python, and holds in its state.

SGD's learning rate is cast to the parameters' dtype as it is. Adam's is divided by ``1 - beta1**step`` before, in
Python floats, so that it must be a double until then.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from funcsgd.arithmetic.float64_words import doubles, from_words, rounded_words, to_words
from funcsgd.hyperparameters import Hyperparameter, value_at
from funcsgd.per_leaf import with_tangent_of


class HeldRateState(NamedTuple):
    """The learning rate in the state of a rule, where `get_learning_rate` finds it.

    Attributes:
        words: uint32, shape ``(2,)``: the bits of a double, the value that the next update takes.
    """

    words: jax.Array

    @property
    def learning_rate(self) -> jax.Array:
        """The same as a floating scalar."""
        return rounded_words(self.words)


class HeldRate(NamedTuple):
    """The result of `hold`.

    Attributes:
        init: ``init()`` returns the state: a `HeldRateState`, or that of the stage that was given.
        update: ``update(state, count, extra_args)`` returns the learning rate of update ``count`` (float64 scalar) and
            the state for the next.
    """

    init: Callable[[], Any]
    update: Callable[[Any, jax.Array, Mapping[str, Any]], tuple[jax.Array, Any]]


def hold(learning_rate: Hyperparameter | optax.GradientTransformation) -> HeldRate:
    """Make of anything that may be a learning rate one that is held as a double.

    Args:
        learning_rate: a number, which stands in the state from then on and may be set there; a 0-d array or tracer,
            which belongs to whoever made it, and counts as the double of the same value; a schedule, called with
            float64 switched on, so that a `tabulate` of torch's schedule gives torch's doubles; or a stage whose state
            holds the learning rate as a double, such as `scale_by_schedulers`.
    """
    if isinstance(learning_rate, optax.GradientTransformation):
        return _hold_stage(learning_rate)

    def init() -> HeldRateState:
        return HeldRateState(to_words(double_at(learning_rate, jnp.zeros((), jnp.int32))))

    def update(state: HeldRateState, count: jax.Array, extra_args: Mapping[str, Any]) -> tuple[jax.Array, Any]:
        del extra_args
        if isinstance(learning_rate, int | float):
            return from_words(state.words), state
        following = double_at(learning_rate, optax.safe_increment(count))
        if not callable(learning_rate):
            rate = double_at(learning_rate, count)
        else:  # what stands in the state, where it may have been set by hand
            rate = from_words(state.words)
            if isinstance(following, jax.core.Tracer):  # words have no derivative
                rate = with_tangent_of(rate, double_at(learning_rate, count))
        return rate, HeldRateState(to_words(following))

    return HeldRate(init, update)


def double_at(hyperparameter: Hyperparameter, count: jax.Array) -> jax.Array:
    """Return a hyperparameter's value at update ``count`` as a float64 scalar.

    What a traced schedule closes over is differentiated as it is calculated in JAX's default dtype: jax's derivatives
    of float64 operations make constants, which are float32 where the 64-bit mode is off.
    """

    def double(count: jax.Array) -> jax.Array:
        return jnp.asarray(value_at(hyperparameter, count), jnp.float64).reshape(())

    with doubles():
        if not callable(hyperparameter) or not isinstance(count, jax.core.Tracer):
            return double(count)
        closed, captured = jax.closure_convert(double, count)
        value: jax.Array = closed(count, *map(jax.lax.stop_gradient, captured))
    if not captured:
        return value
    smooth = jnp.asarray(value_at(hyperparameter, count), float).reshape(())
    with doubles():
        return with_tangent_of(value, smooth.astype(jnp.float64))


def number_or_double(hyperparameter: Hyperparameter, count: jax.Array) -> Any:
    """Return a Python number as it is, so that it is known before tracing, and anything else as `double_at` does."""
    return hyperparameter if isinstance(hyperparameter, int | float) else double_at(hyperparameter, count)


def _hold_stage(stage: optax.GradientTransformation) -> HeldRate:
    def init() -> Any:
        state = stage.init(())
        if not hasattr(state, "words"):
            raise ValueError(
                f"a state of type {type(state).__name__} does not hold its learning rate as a double: give the number "
                "or the schedule itself, or funcsgd.scale_by_schedulers"
            )
        return state

    def update(state: Any, count: jax.Array, extra_args: Mapping[str, Any]) -> tuple[jax.Array, Any]:
        del count
        new = optax.with_extra_args_support(stage).update((), state, (), **extra_args)[1]
        # Schedulers that watch a metric are stepped at the start of an update, the others at the end of the one before.
        watches = bool(getattr(state, "plateaus", ()))
        return from_words((new if watches else state).words), new

    return HeldRate(init, update)
