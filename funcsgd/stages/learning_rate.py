"""The last stage of a rule, ``-learning_rate * d``, and the question what the learning rate is now."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from funcsgd.arithmetic import UnroundedUpdate, is_exact, mul, step
from funcsgd.arithmetic.float64_words import to_words
from funcsgd.hyperparameters import Hyperparameter, check_nonnegative, check_scalar, value_at
from funcsgd.per_leaf import check_trainable, per_leaf, present


class ScaleByLearningRateState(NamedTuple):
    """State of `scale_by_learning_rate`.

    Attributes:
        count: int32 scalar, the number of updates made.
        learning_rate: floating scalar, the value that the next update takes, like ``lr`` in torch's param_groups. It
            may be set by hand (`set_learning_rate`).
    """

    count: jax.Array  # type: ignore[assignment]  # optax's name, in place of tuple.count
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
        so that ``apply_updates`` rounds once; inside `exact_arithmetic` updates are `UnroundedUpdate`. A gradient that
        is None becomes an update that leaves every bit of its parameter alone (-0.0), if ``params`` is given.

    Raises:
        ValueError: at construction for a negative or non-scalar value, with torch's messages.

    Exactness: bitwise for float32 and float64, with ``optax.apply_updates`` in the same ``jit``; complex64 bitwise for
    finite values; bfloat16 and float16 `rounding`. Give ``params``: without them a compiler may lose a rounding where
    the direction ends in a select or a broadcast. One gap is known, with jaxlib 0.12: leaves of two dimensions or more
    whose last is 16 or less. Inside `exact_arithmetic` there is none.

    Source: ``torch/optim/sgd.py``, ``_single_tensor_sgd``, torch 2.13.0.

    Differs from ``optax.scale_by_learning_rate`` in: (1) the learning rate can be read from the state, and set there:
    a state keeps its own when it is given to a rule made with another number, as torch's ``load_state_dict`` has it;
    (2) a Python number is cast to the parameters' dtype once; (3) low-precision updates in float32; (4) None.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = scale_by_learning_rate(0.5)
        >>> tx.update(jnp.array([4.0]), tx.init(jnp.array([1.0])))[0]
        Array([-2.], dtype=float32)
    """
    check_scalar("lr", learning_rate)
    check_nonnegative("Invalid learning rate", learning_rate)

    def state_at(count: jax.Array) -> ScaleByLearningRateState:
        value = value_at(learning_rate, count)
        if isinstance(value, int | float):
            return ScaleByLearningRateState(count, jnp.asarray(value, float))
        value = jnp.asarray(value)
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
        # What stands in the state, unless the learning rate is an array: that belongs to whoever made the rule with it,
        # such as optax.inject_hyperparams, and changes there.
        own = isinstance(learning_rate, int | float) or callable(learning_rate)
        step_size, count = _negated_and_counted((state if own else state_at(state.count)).learning_rate, state.count)
        new_state = state._replace(count=count) if own and not callable(learning_rate) else state_at(count)
        return moved(updates, params, step_size), new_state

    return optax.GradientTransformationExtraArgs(init, update)


@jax.jit
def _negated_and_counted(learning_rate: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The step size and the count of the next update: one dispatch where they are called eagerly."""
    return -learning_rate, optax.safe_increment(count)


def moved(updates: optax.Updates, params: optax.Params | None, step_size: jax.Array) -> optax.Updates:
    """Return ``step_size * d`` for every direction, as `scale_by_learning_rate` does; None stays None."""
    # An UnroundedUpdate is added in fewer operations where no jit has taken it apart on its way.
    move = _step if is_exact() else _compiled_step

    def leaf(d: jax.Array | None, p: jax.Array | None = None) -> jax.Array | UnroundedUpdate | None:
        if d is None:
            return None if p is None else -jnp.zeros_like(p)
        return move(d, p, step_size=step_size)

    if params is None:
        return jax.tree.map(leaf, updates)
    return jax.tree.map(leaf, updates, params, is_leaf=lambda d: d is None)


def _step(d: jax.Array, p: jax.Array | None, *, step_size: ArrayLike) -> jax.Array | UnroundedUpdate:
    return mul(d, step_size) if jnp.iscomplexobj(d) else step(d, step_size, p)


_compiled_step = per_leaf(_step)


def get_learning_rate(state: optax.OptState) -> jax.Array | list[jax.Array]:
    """Return the learning rate that the next update will take, read from an optimizer's state.

    Args:
        state: the state of `sgd`, of any optax chain, mask or partition that contains `scale_by_learning_rate` or
            `scale_by_schedulers`, or of ``optax.inject_hyperparams``, whose value comes first where both are there.

    Returns:
        A floating scalar; a list of them, in the order of the state, where there are several (parameter groups). Where
        a scheduler watches a metric, the value after the last update of an epoch is still that of the epoch, as
        torch's is until ``scheduler.step(metric)``.

    Raises:
        ValueError: there is none in the state, or only the one of the update before: ``optax.inject_hyperparams`` with
            a schedule does not keep what comes next.

    Differs from torch's ``scheduler.get_last_lr()`` in: a single value comes without a list around it.

    Example:
        >>> import jax.numpy as jnp
        >>> float(get_learning_rate(scale_by_learning_rate(0.5).init(jnp.array([1.0]))))
        0.5
    """
    nodes = [node for node in jax.tree.leaves(state, is_leaf=_holds_rate) if _holds_rate(node)]
    if any(_is_scheduled(node) for node in nodes):
        raise ValueError(
            "optax.inject_hyperparams with a schedule keeps the learning rate of the update before, not of the next: "
            "give the schedule to a rule of funcsgd, whose state holds it, or read state.hyperparams if that is meant"
        )
    rates = [
        node.learning_rate if hasattr(node, "learning_rate") else node.hyperparams["learning_rate"] for node in nodes
    ]
    if not rates:
        raise ValueError(_no_rate(state))
    rates = [jnp.asarray(rate) for rate in rates]  # flax's nnx keeps them in variables
    return rates[0] if len(rates) == 1 else rates


def set_learning_rate(state: optax.OptState, learning_rate: ArrayLike | Sequence[ArrayLike]) -> optax.OptState:
    """Return a state whose next update takes another learning rate: ``param_groups[0]["lr"] = learning_rate`` of torch.

    A rule with a number keeps it from then on. One with a schedule takes it once, and then the schedule's next; one
    with `scale_by_schedulers` goes on from it, as torch's schedulers do.

    Args:
        state: as for `get_learning_rate`.
        learning_rate: non-negative scalar, traced or not; a sequence of them where there are several, in their order.

    Returns:
        The state, its tree, shapes and dtypes unchanged, so that nothing is compiled anew.

    Raises:
        ValueError: a negative value, another number of values than there are learning rates, or none in the state; a
            state of ``optax.inject_hyperparams`` with a schedule, which would overwrite it.

    Exactness: bitwise, after one cast to the dtype of the state: float32 without JAX's 64-bit mode; a double in the
    state of `scale_by_schedulers`.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = scale_by_learning_rate(0.5)
        >>> state = set_learning_rate(tx.init(jnp.array([1.0])), 0.25)
        >>> tx.update(jnp.array([4.0]), state)[0]
        Array([-1.], dtype=float32)
    """
    several = isinstance(learning_rate, Sequence)
    given: list[Any] = list(learning_rate) if isinstance(learning_rate, Sequence) else [learning_rate]
    for value in given:
        check_scalar("lr", value)
        check_nonnegative("Invalid learning rate", value)
    leaves = jax.tree.leaves(state, is_leaf=_holds_rate)
    structure: Any = jax.tree.structure(state, is_leaf=_holds_rate)
    found = sum(map(_holds_rate, leaves))
    if not found:
        raise ValueError(_no_rate(state))
    if found != len(given) and several:
        raise ValueError(f"the state has {found} learning rates, but {len(given)} are given")
    if any(map(_is_scheduled, leaves)):
        raise ValueError(
            "optax.inject_hyperparams overwrites it by its schedule: give the schedule to a rule of funcsgd"
        )
    values = iter(given if several else given * found)
    return structure.unflatten([_with_rate(node, next(values)) if _holds_rate(node) else node for node in leaves])


def _holds_rate(node: Any) -> bool:
    """Whether it is a state with a learning rate: every one of this library calls the field so."""
    return hasattr(node, "learning_rate") or "learning_rate" in getattr(node, "hyperparams", ())


def _is_scheduled(node: Any) -> bool:
    return "learning_rate" in getattr(node, "hyperparams_states", ())


def _with_rate(node: Any, value: ArrayLike) -> Any:
    if hasattr(node, "words"):
        return node._replace(words=to_words(value))
    if hasattr(node, "hyperparams"):
        old = node.hyperparams["learning_rate"]
        new = jnp.asarray(value, jnp.result_type(old)).reshape(jnp.shape(old))
        return node._replace(hyperparams={**node.hyperparams, "learning_rate": new})
    return node._replace(learning_rate=jnp.asarray(value, jnp.result_type(node.learning_rate)).reshape(()))


def _no_rate(state: Any) -> str:
    return (
        f"no learning rate in a state of type {type(state).__name__}: build the optimizer with a rule of funcsgd, with "
        "funcsgd.scale_by_learning_rate or optax.inject_hyperparams"
    )
