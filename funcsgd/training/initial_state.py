"""The state before the first update; and, before anything runs, a look at what the functions return."""

from typing import Any

import jax
import jax.numpy as jnp

from funcsgd.stages.scheduled_learning_rate import ScaleBySchedulersState
from funcsgd.training.batches import take
from funcsgd.training.epoch import Inputs
from funcsgd.training.state import TrainingState
from funcsgd.training.update import Program, loss_and_rest


def initial_state(
    program: Program, sizes: tuple[int, ...], params: Any, model_state: Any, inputs: Inputs, key: Any
) -> TrainingState:
    """Return the state before the first update."""
    opt_state = program.tx.init(params)
    _check_metric(program, opt_state)
    batch = jax.eval_shape(lambda data: take(data, jnp.zeros(sizes[0], int)), inputs.data)
    loss = _checked_loss(program, params, batch, model_state)
    losses = jnp.zeros(len(sizes), loss.dtype)
    return TrainingState(params, opt_state, model_state, jnp.int32(0), key, jnp.zeros((), float), losses)


def _check_metric(program: Program, opt_state: Any) -> None:
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, ScaleBySchedulersState))
    if program.metric is None and any(isinstance(node, ScaleBySchedulersState) and node.plateaus for node in nodes):
        raise ValueError(
            "scale_by_plateau needs a metric: train(..., metric=lambda epoch: epoch.loss), or "
            "something of epoch.evaluation"
        )


def _checked_loss(program: Program, params: Any, batch: Any, model_state: Any) -> Any:
    """Shape and dtype of the loss, if ``loss_fn`` returns what it should."""
    states = () if model_state is None else (model_state,)
    try:
        out = jax.eval_shape(lambda *args: _of_arrays(program.loss_fn(*args)), params, batch, *states)
    except _NumberError:
        raise
    except jax.errors.ConcretizationTypeError as error:
        error.add_note("loss_fn is compiled: it must return its loss as it is, without float(...) or .item()")
        raise
    except Exception as error:
        error.add_note(f"train called loss_fn with {_described(batch)}")
        raise
    pair, pairs = _is_pair(out), program.has_aux + len(states)
    if pair != (pairs > 0) or (pairs == 2 and not _is_pair(out[1])):
        given = "without a model_state" if model_state is None else "with a model_state"
        raise ValueError(
            f"{given} and with has_aux={program.has_aux} loss_fn must return {RETURNED[program.has_aux, len(states)]}, "
            f"but returns {jax.tree.map(_shown, out)}"
        )
    loss = out[0] if pair else out
    if getattr(loss, "shape", None) != () or not jnp.issubdtype(loss.dtype, jnp.floating):
        raise ValueError(f"loss_fn must return a floating scalar, but returns {jax.tree.map(_shown, loss)}")
    if states:
        after = jax.eval_shape(lambda *args: loss_and_rest(program, *args)[1][0], params, batch, model_state)
        _check_same_shapes(model_state, after)
    return loss


RETURNED = {
    (False, 0): "loss",
    (True, 0): "(loss, aux)",
    (False, 1): "(loss, model_state)",
    (True, 1): "(loss, (model_state, aux))",
}


class _NumberError(ValueError):
    """A loss function that returns a number, whatever the parameters are."""


def _of_arrays(out: Any) -> Any:
    loss = out[0] if isinstance(out, tuple) and out else out
    if isinstance(loss, int | float):
        raise _NumberError(
            f"loss_fn must return a floating scalar that depends on the parameters, but returns the number {loss}"
        )
    return out


def _described(batch: Any) -> str:
    if not jax.tree.leaves(batch):
        return f"no data: the batch is {batch!r}"
    return f"a batch of {jax.tree.map(_shown, batch)}"


def _check_same_shapes(before: Any, after: Any) -> None:
    """A run can only carry what has the same shape after each update."""
    before = jax.eval_shape(lambda: before)
    if not bool(jax.tree.structure(before) == jax.tree.structure(after)):  # type: ignore[operator]
        raise ValueError(
            f"loss_fn must return a model_state like the one it got, {jax.tree.map(_shown, before)}, but returns "
            f"{jax.tree.map(_shown, after)}"
        )
    for (path, was), now in zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if _shown(was) != _shown(now):
            raise ValueError(
                f"loss_fn must return a model_state like the one it got, but model_state{jax.tree_util.keystr(path)} "
                f"was {_shown(was)} and is {_shown(now)}"
            )


def _is_pair(out: Any) -> bool:
    return isinstance(out, tuple) and len(out) == 2


def _shown(x: Any) -> str:
    return f"{x.dtype}{list(x.shape)}"
