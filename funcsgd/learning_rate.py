"""The last stage of a rule, ``-learning_rate * d``, and the question what the learning rate is now."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic import bare_product, compute_dtype, scaled
from funcsgd.hyperparameters import Hyperparameter, check_nonnegative, check_scalar, value_at
from funcsgd.per_leaf import check_trainable, per_leaf, present


class ScaleByLearningRateState(NamedTuple):
    """State of `scale_by_learning_rate`.

    Attributes:
        count: int32 scalar, the number of updates made.
        learning_rate: floating scalar, the value that the next update takes, like ``lr`` in torch's param_groups.
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name; it hides tuple.count, which nobody needs here
    learning_rate: jax.Array


def scale_by_learning_rate(learning_rate: Hyperparameter) -> optax.GradientTransformationExtraArgs:
    """Turn a direction into a step downhill.

    Equation::

        u = -learning_rate * d          and then optax.apply_updates:  p = fl(p + u)

    The product is left bare, so that the compiler fuses it into the sum of ``apply_updates``, which is what torch's
    ``param.add_(d, alpha=-lr)`` does. Call both in the same ``jit``: apart, they round twice.

    Args:
        learning_rate: non-negative scalar (number, 0-d array, tracer) or a schedule of the update count, from 0.

    Returns:
        A transformation with a `ScaleByLearningRateState`. Updates of bfloat16 and float16 leaves come out in float32,
        so that ``apply_updates`` rounds once. A gradient that is None becomes an update that leaves every bit of its
        parameter alone (-0.0), if ``params`` is given.

    Raises:
        ValueError: at construction for a negative or non-scalar value, with torch's messages.

    Exactness: bitwise for float32 and float64, with ``optax.apply_updates`` in the same ``jit``; complex64 bitwise for
    finite values; bfloat16 and float16 `rounding`. One gap is known: a direction that is transposed in the same program
    and has a last axis of 8 or fewer (a gradient ``g.T``, say, that no momentum buffer has taken in); LLVM then misses
    the fusion for some elements, 2 % of a (1000, 3) array.

    Source: ``torch/optim/sgd.py``, ``_single_tensor_sgd``, torch 2.13.0.

    Differs from ``optax.scale_by_learning_rate`` in: (1) the learning rate can be read from the state; (2) a Python
    number meets the parameters' dtype in one cast; (3) low-precision updates in float32; (4) None.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = scale_by_learning_rate(0.5)
        >>> tx.update(jnp.array([4.0]), tx.init(jnp.array([1.0])))[0]
        Array([-2.], dtype=float32)
    """
    check_scalar("lr", learning_rate)
    check_nonnegative("Invalid learning rate", learning_rate)

    def state_at(count: jax.Array) -> ScaleByLearningRateState:
        value = jnp.asarray(value_at(learning_rate, count))
        dtype = jnp.result_type(float) if not jnp.issubdtype(value.dtype, jnp.floating) else value.dtype
        return ScaleByLearningRateState(count, value.reshape(()).astype(dtype))

    def init(params: optax.Params) -> ScaleByLearningRateState:
        check_trainable(params)
        return state_at(jnp.zeros((), jnp.int32))

    def update(
        updates: optax.Updates,
        state: ScaleByLearningRateState,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, ScaleByLearningRateState]:
        del extra_args
        updates = present(updates)
        # A number, not the state's array: float64 parameters get all of its bits even where the state is float32.
        number = isinstance(learning_rate, int | float)
        step_size = -learning_rate if number else -state_at(state.count).learning_rate  # type: ignore[operator]
        new_state = state_at(optax.safe_increment(state.count))

        def step(d: jax.Array | None, p: jax.Array | None) -> jax.Array | None:
            if d is None:
                return None if p is None else -jnp.zeros_like(p)
            return _step(d, step_size=step_size)

        if params is None:
            return jax.tree.map(lambda d: step(d, None), updates), new_state
        return jax.tree.map(step, updates, params, is_leaf=lambda d: d is None), new_state

    return optax.GradientTransformationExtraArgs(init, update)


@per_leaf
def _step(d: jax.Array, *, step_size: ArrayLike) -> jax.Array:
    if jnp.iscomplexobj(d):
        return scaled(d, step_size)
    return bare_product(d.astype(compute_dtype(d.dtype)), step_size)


def get_learning_rate(state: optax.OptState) -> jax.Array | list[jax.Array]:
    """Return the learning rate that the next update will take, read from an optimizer's state.

    Args:
        state: the state of `sgd`, of any optax chain, mask or partition that contains `scale_by_learning_rate` or
            `scale_by_schedulers`, or of ``optax.inject_hyperparams``, whose value comes first where both are there.

    Returns:
        A floating scalar; a list of them, in the order of the state, where there are several (parameter groups).

    Raises:
        ValueError: there is none in the state.

    Differs from torch's ``scheduler.get_last_lr()`` in: a single value comes without a list around it.

    Example:
        >>> import jax.numpy as jnp
        >>> float(get_learning_rate(scale_by_learning_rate(0.5).init(jnp.array([1.0]))))
        0.5
    """

    def holds_rate(node: Any) -> bool:  # every state of this library that has one calls the field so
        return hasattr(node, "learning_rate") or "learning_rate" in getattr(node, "hyperparams", ())

    nodes = [node for node in jax.tree.leaves(state, is_leaf=holds_rate) if holds_rate(node)]
    rates = [
        node.learning_rate if hasattr(node, "learning_rate") else node.hyperparams["learning_rate"] for node in nodes
    ]
    if not rates:
        raise ValueError(
            f"no learning rate in a state of type {type(state).__name__}: build the optimizer with funcsgd.sgd, "
            "funcsgd.scale_by_learning_rate or optax.inject_hyperparams"
        )
    rates = [jnp.asarray(rate) for rate in rates]  # flax's nnx keeps them in variables
    return rates[0] if len(rates) == 1 else rates
