"""One update, as a pure function of what a run carries."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import optax

from funcsgd.training.batches import BatchOrder
from funcsgd.training.convolutions import with_canonical_convolutions
from funcsgd.training.state import Epoch, Step


class Program(NamedTuple):
    """The part of a run that is fixed before it is compiled; `train` describes the fields of the same names."""

    loss_fn: Callable[..., Any]
    tx: optax.GradientTransformation
    order: BatchOrder | None
    has_aux: bool
    evaluate: Callable[[Any, Any], Any] | None
    metric: Callable[[Epoch], Any] | None
    record: Callable[[Step], Any] | None
    progress: Callable[[Any, int, Any], None] | None
    total: int  # updates in the whole run
    unroll: int
    in_range: bool  # whether the indices are known to be


Carry: TypeAlias = tuple[Any, Any, Any]  # parameters, the optimizer's state and the model's
Seen: TypeAlias = tuple[jax.Array, Any]  # an update's loss, and what is recorded of it


def loss_and_rest(program: Program, params: Any, batch: Any, model_state: Any) -> tuple[jax.Array, tuple[Any, Any]]:
    """Return the loss, and with it the model's next state and the loss function's other output: None if it has none."""
    if model_state is None:
        out = program.loss_fn(params, batch)
        loss, aux = out if program.has_aux else (out, None)
        return loss, (None, aux)
    loss, rest = program.loss_fn(params, batch, model_state)
    return loss, rest if program.has_aux else (rest, None)


def update(program: Program, carry: Carry, batch: Any, metric: jax.Array, step: Any) -> tuple[Carry, Seen]:
    """Make one update; ``step``, its number from 0, is used for the progress only."""

    def made(carry: Carry, batch: Any, metric: jax.Array) -> tuple[Carry, Seen]:
        params, opt_state, before = carry

        def loss_fn(params: Any) -> tuple[jax.Array, Any]:
            return loss_and_rest(program, params, batch, before)

        (loss, (model_state, aux)), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        extra_args = {"metric": metric} if program.metric is not None else {}
        tx = optax.with_extra_args_support(program.tx)  # here: a new object, which nothing was compiled for
        updates, opt_state = tx.update(
            grads, opt_state, params, value=loss, grad=grads, value_fn=lambda p: loss_fn(p)[0], **extra_args
        )
        params = optax.apply_updates(params, updates)
        this = Step(loss, aux, grads, updates, params, opt_state, model_state)
        return (params, opt_state, model_state), (loss, None if program.record is None else program.record(this))

    carry, seen = with_canonical_convolutions(made)(carry, batch, metric)
    if program.progress is not None:
        _report(program, step + 1, seen[0])
    return carry, seen


def _report(program: Program, made: jax.Array, loss: jax.Array) -> None:
    """Call the host, at most a hundred times a run."""
    progress, total = program.progress, program.total

    def call(made: jax.Array, loss: jax.Array) -> None:
        jax.debug.callback(lambda made, loss: progress(made, total, loss), made, loss, ordered=True)  # type: ignore[misc]

    due = (made % max(1, total // 100) == 0) | (made == total)
    jax.lax.cond(due, call, lambda made, loss: None, made, loss)
