"""One epoch, a part of one, and several: what is compiled, as pure functions of the state of a run."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcsgd.averages.averaged_optimizer import averaged_params
from funcsgd.averages.averaging import AverageState
from funcsgd.training.batches import Rows, are_in_range, cut, take
from funcsgd.training.state import Epoch, TrainingState
from funcsgd.training.update import Carry, Program, Seen, update


class Inputs(NamedTuple):
    """The constant inputs of a run. ``rows`` is None for the full gradient, and where they are drawn."""

    data: Any
    rows: Rows | None
    validation: Any


def rows_of_epoch(program: Program, key: Any, rows: Rows | None) -> tuple[Rows | None, Any]:
    """Draw the order, where the program does that; otherwise the rows are there already."""
    if program.order is None:
        return rows, key
    order, key = program.order.draw(key)
    if order.shape != (program.order.samples,) or not jnp.issubdtype(order.dtype, jnp.integer):
        raise ValueError(
            f"a BatchOrder must draw {program.order.samples} integers, its `samples`, but draws "
            f"{order.dtype} of shape {order.shape}"
        )
    return cut(order, program.order), key


def _if_in_range(program: Program, rows: Rows | None, data: Any, losses: jax.Array) -> jax.Array:
    """The losses, or NaN if the epoch's indices, unknown until now, leave the data."""
    if rows is None or program.in_range:
        return losses
    return jnp.where(are_in_range(rows, data), losses, jnp.nan)


def close(program: Program, carry: Carry, losses: jax.Array, sizes: tuple[int, ...], validation: Any) -> Epoch:
    """Sum an epoch up."""
    loss = losses[0] if len(sizes) == 1 else losses @ jnp.asarray(np.array(sizes) / sum(sizes), losses.dtype)
    if program.evaluate is None:
        return Epoch(loss, None, None)
    params, opt_state, model_state = carry
    model_states = () if model_state is None else (model_state,)

    def evaluate(params: Any) -> Any:
        return program.evaluate(params, validation, *model_states)  # type: ignore[misc]

    return Epoch(loss, evaluate(params), _evaluate_averages(evaluate, params, opt_state))


def _evaluate_averages(evaluate: Callable[[Any], Any], params: Any, opt_state: Any) -> Any:
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, AverageState))
    if not any(isinstance(node, AverageState) for node in nodes):
        return None
    averages = averaged_params(opt_state, params)
    if bool(jax.tree.structure(averages) == jax.tree.structure(params)):  # type: ignore[operator]
        return evaluate(averages)
    return [evaluate(average) for average in averages]


def metric_of(program: Program, epoch: Epoch, before: jax.Array) -> jax.Array:
    """The number that the next epoch's updates receive."""
    if program.metric is None:
        return before
    metric = jnp.asarray(program.metric(epoch), before.dtype)
    if metric.shape != ():
        raise ValueError(f"metric must return a scalar, but returned an array of shape {metric.shape}")
    return metric


def whole_epochs(
    program: Program, epochs: int, state: TrainingState, inputs: Inputs
) -> tuple[TrainingState, Seen, Epoch]:
    """Run several epochs from the beginning of one: a scan over epochs of a scan over updates.

    Rows with a leading axis hold each epoch's own; otherwise all epochs have the same. Returns what each update and
    each epoch showed, along one leading axis each.
    """
    steps = len(state.losses)

    def epoch(carry: tuple[Carry, Any, jax.Array], this: tuple[Rows | None, Any]) -> Any:
        run, key, metric = carry
        rows, number = this
        rows, key = rows_of_epoch(program, key, inputs.rows if rows is None else rows)
        first = None if number is None else state.step + number * steps

        def step(run: Carry, this: tuple[Any, Any]) -> tuple[Carry, Seen]:
            row, i = this
            batch = inputs.data if row is None else take(inputs.data, row)
            return update(program, run, batch, metric, None if first is None else first + i)

        seen: list[Seen] = []
        if rows is not None and rows.full is not None:
            xs = rows.full, _numbers(program, len(rows.full))
            run, these = jax.lax.scan(step, run, xs, unroll=program.unroll)
            seen.append(these)
        if rows is None or rows.rest is not None:  # a shape of its own: torch's mean over the samples that are there
            run, this_one = step(run, (None if rows is None else rows.rest, steps - 1))
            seen.append(jax.tree.map(lambda x: x[None], this_one))
        losses, recorded = jax.tree.map(lambda *parts: jnp.concatenate(parts), *seen) if len(seen) > 1 else seen[0]
        losses = _if_in_range(program, rows, inputs.data, losses)
        sizes = (1,) if rows is None else rows.sizes
        summary = close(program, run, losses, sizes, inputs.validation)
        after = run, key, metric_of(program, summary, metric)
        if steps == 1:  # then they are the same, and to write one down is cheaper than two
            summary = summary._replace(loss=None)  # type: ignore[arg-type]
        return after, ((losses, recorded), summary)

    own = inputs.rows is not None and inputs.rows.own
    start = state[:3], state.key, state.metric
    (run, key, metric), (seen, summaries) = jax.lax.scan(
        epoch,
        start,
        (inputs.rows if own else None, _numbers(program, epochs)),
        length=epochs,
        unroll=program.unroll if steps == 1 else 1,
    )
    seen = jax.tree.map(lambda x: x.reshape(epochs * steps, *x.shape[2:]), seen)
    summaries = summaries._replace(loss=seen[0]) if steps == 1 else summaries
    state = TrainingState(*run, state.step + epochs * steps, key, metric, jnp.zeros_like(state.losses))
    return state, seen, summaries


def _numbers(program: Program, n: int) -> jax.Array | None:
    return None if program.progress is None else jnp.arange(n, dtype=jnp.int32)


def part_of_epoch(
    program: Program, state: TrainingState, inputs: Inputs, start: jax.Array, stop: jax.Array
) -> tuple[TrainingState, Seen, Epoch]:
    """Run updates ``start`` to ``stop - 1`` of one epoch, both traced: one compilation serves every such part.

    Returns arrays as long as the epoch, of which only that part is filled in, and its `Epoch`, which is zeros unless
    the part reaches the end.
    """
    steps = len(state.losses)
    first = state.step - start
    rows, next_key = rows_of_epoch(program, state.key, inputs.rows)

    def step(i: Any, row: Any, carry: tuple[Carry, Seen]) -> tuple[Carry, Seen]:
        run, seen = carry
        batch = inputs.data if row is None else take(inputs.data, row)
        run, this = update(program, run, batch, state.metric, first + i)
        return run, jax.tree.map(lambda all_, one: all_.at[i].set(one), seen, this)

    run = state[:3]
    full, rest = (None, None) if rows is None else rows
    row = rest if full is None else full[0]
    example = inputs.data if row is None else take(inputs.data, row)
    _, shapes = jax.eval_shape(lambda r, b: update(program, r, b, state.metric, first), run, example)
    seen = state.losses, jax.tree.map(lambda x: jnp.zeros((steps, *x.shape), x.dtype), shapes[1])
    carry = run, seen
    if full is not None:
        carry = jax.lax.fori_loop(start, jnp.minimum(stop, len(full)), lambda i, c: step(i, full[i], c), carry)
    if full is None or rest is not None:
        carry = jax.lax.cond(stop == steps, lambda c: step(steps - 1, rest, c), lambda c: c, carry)
    run, (losses, recorded) = carry
    seen = _if_in_range(program, rows, inputs.data, losses), recorded

    def at_the_end() -> tuple[Any, jax.Array, jax.Array, Epoch]:
        sizes = (1,) if rows is None else rows.sizes
        summary = close(program, run, seen[0], sizes, inputs.validation)
        return next_key, metric_of(program, summary, state.metric), jnp.zeros_like(state.losses), summary

    def before_it() -> tuple[Any, jax.Array, jax.Array, Epoch]:
        shapes = jax.eval_shape(at_the_end)[3]
        return state.key, state.metric, seen[0], jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    key, metric, losses, summary = jax.lax.cond(stop == steps, at_the_end, before_it)
    return TrainingState(*run, first + stop, key, metric, losses), seen, summary
