"""An optimizer and the average of the parameters it makes, as one transformation; and the average read back."""

from typing import Any, NamedTuple

import jax
import optax
from jax.typing import ArrayLike

from funcsgd.averages.averaging import Average, AverageState


class WithAverageState(NamedTuple):
    """State of `with_average`.

    Attributes:
        inner_state: the optimizer's own state.
        average: an `AverageState`; `averaged_params` finds it wherever this state is nested.
    """

    inner_state: optax.OptState
    average: AverageState


def with_average(tx: optax.GradientTransformation, average: Average) -> optax.GradientTransformationExtraArgs:
    """Let an average follow the parameters that an optimizer makes.

    Equation::

        u = tx(g, p)
        a = average(fl(p + u))          the parameters after the update

    The sum is the one that ``optax.apply_updates(p, u)`` makes. In the same ``jit`` both are one instruction, or two
    that are compiled alike, so the average gets the parameters of the next step in every bit, as torch's
    ``optimizer.step(); averaged_model.update_parameters(model)`` does. Apart they may not: ``u`` is then rounded on
    its way out, and the average has seen one rounding where the parameters get two. For the same reason wrap the
    whole optimizer: what changes ``u`` later, such as ``optax.MultiSteps``, belongs inside.

    Args:
        tx: the optimizer, complete: its updates are added to the parameters as they are.
        average: `ema` or `swa`. Buffers of a model are no part of the parameters; to average those too, call the
            average's own ``update`` after ``optax.apply_updates`` instead.

    Returns:
        A transformation with a `WithAverageState`, whose updates are those of ``tx``. Its ``update`` needs
        ``params``; of the extra arguments ``average_when``, a bool or a traced one, decides whether this update's
        parameters count (they do without it), and the others go to ``tx``.

    Raises:
        ValueError: in ``update`` when ``params`` is missing.

    Exactness: that of the average, with ``optax.apply_updates`` in the same ``jit``.

    Source: ``torch/optim/swa_utils.py``, ``AveragedModel.update_parameters``, torch 2.13.0.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from funcsgd import sgd
        >>> from funcsgd.averages import ema
        >>> tx = with_average(sgd(0.5), ema(0.75))
        >>> params = jnp.array([4.0])
        >>> state = tx.init(params)
        >>> @jax.jit
        ... def step(params, state):
        ...     updates, state = tx.update(params, state, params)  # the gradient of p**2 / 2
        ...     return optax.apply_updates(params, updates), state
        >>> for _ in range(2):  # the parameters are 2, then 1
        ...     params, state = step(params, state)
        >>> averaged_params(state)  # 2, copied; then 0.75 * 2 + 0.25 * 1
        Array([1.75], dtype=float32)
    """
    tx = optax.with_extra_args_support(tx)

    def init(params: optax.Params) -> WithAverageState:
        return WithAverageState(tx.init(params), average.init(params))

    def update(
        updates: optax.Updates,
        state: WithAverageState,
        params: optax.Params | None = None,
        *,
        average_when: ArrayLike = True,
        **extra_args: Any,
    ) -> tuple[optax.Updates, WithAverageState]:
        if params is None:
            raise ValueError("with_average needs the parameters: call tx.update(grads, state, params)")
        updates, inner_state = tx.update(updates, state.inner_state, params, **extra_args)
        followed = average.update(optax.apply_updates(params, updates), state.average, when=average_when)
        return updates, WithAverageState(inner_state, followed)

    return optax.GradientTransformationExtraArgs(init, update)


def averaged_params(state: optax.OptState, params: optax.Params | None = None) -> Any:
    """Return the average of the parameters, found in an optimizer's state.

    Args:
        state: an `AverageState`, a `WithAverageState`, or any optax state that contains one: of a chain, a mask, a
            partition, ``inject_hyperparams``, ``MultiSteps``, ...
        params: the parameters; they stand in for leaves that no average covers. Only needed where there are such.

    Returns:
        A tree like the parameters. The parts of a partition are joined. A list of trees, in the order of the state,
        where several averages cover the same leaves.

    Raises:
        ValueError: there is no average in the state, or it leaves leaves open and ``params`` is not given.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from funcsgd import sgd
        >>> from funcsgd.averages import ema
        >>> tx = optax.chain(optax.identity(), with_average(sgd(0.1), ema()))
        >>> averaged_params(tx.init(jnp.array([1.0])))
        Array([1.], dtype=float32)
    """
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, AverageState))
    averages = [node.average for node in nodes if isinstance(node, AverageState)]
    if not averages:
        raise ValueError(
            f"no average of parameters in a state of type {type(state).__name__}: wrap the optimizer in "
            "funcsgd.averages.with_average"
        )
    trees: list[tuple[Any, list[Any]]] = []  # each a structure with the leaves it has so far, or MaskedNode
    for average in averages:
        leaves, structure = jax.tree.flatten(average, is_leaf=_is_masked)
        for other_structure, others in trees:
            if structure == other_structure and all(map(_is_one_masked, leaves, others)):
                others[:] = [b if _is_masked(a) else a for a, b in zip(leaves, others, strict=True)]
                break
        else:
            trees.append((structure, leaves))

    def closed(structure: Any, leaves: list[Any]) -> Any:
        if params is not None:
            stand_ins = jax.tree.leaves(params)
            leaves = [p if _is_masked(a) else a for a, p in zip(leaves, stand_ins, strict=True)]
        if any(map(_is_masked, leaves)):
            raise ValueError(
                "some parameters are in no average: call averaged_params(state, params) to take those as they are"
            )
        return structure.unflatten(leaves)

    found = [closed(structure, leaves) for structure, leaves in trees]
    return found[0] if len(found) == 1 else found


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


def _is_one_masked(a: Any, b: Any) -> bool:
    return _is_masked(a) or _is_masked(b)
