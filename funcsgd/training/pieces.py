"""`train_batches`: a run over data that come in pieces, from a function, a loader or a file, one batch an update."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from funcsgd.training.compilation import compiled, is_traced
from funcsgd.training.epoch import Inputs
from funcsgd.training.initial_state import initial_state
from funcsgd.training.run import History, Run
from funcsgd.training.state import Epoch, Step, TrainingState
from funcsgd.training.update import Program, Seen, update


def train_batches(
    loss_fn: Callable[..., Any],
    tx: optax.GradientTransformation,
    params: Any,
    batches: Iterable[Any] | Callable[[int], Any],
    updates: int | None = None,
    *,
    model_state: Any = None,
    has_aux: bool = False,
    record: Callable[[Step], Any] | None = None,
    until: Callable[[int, jax.Array], Any] | None = None,
) -> Run:
    """Make one update for each batch that arrives: `train` for data that do not lie in one array.

    Equation, for the ``k``-th batch ``B``::

        g = gradient of loss_fn(params, B)
        params = params + tx(g, params, value=loss, grad=g, value_fn=loss_fn(., B))

    Args:
        loss_fn: as for `train`.
        tx: any optax transformation; none that watches a metric, as there are no epochs.
        params: to begin with; or the `TrainingState` of an earlier call, and then the run goes on.
        batches: an iterable of batches, trees of arrays such as a grain ``DataLoader`` or a generator gives; or a
            function of the update's number, from 0. Each shape of a batch is compiled once.
        updates: how many to make in this call. None takes all that there are, and a function needs a number.
        model_state: as for `train`.
        has_aux: as for `train`.
        record: ``record(step) -> tree`` of arrays from a `Step`, for the history.
        until: ``until(made, loss) -> bool``, on the host after each update: True returns there. It waits for the loss;
            without it the host runs ahead.

    Returns:
        A `Run`; ``history.epochs`` is an `Epoch` of None. A state goes on with a function from its own update number;
        an iterator has to be at that batch itself, as grain's are after ``set_state``.

    Raises:
        ValueError: no batch, a function without ``updates``, and what `train` refuses in a loss function.

    Exactness: bitwise that of `train` over the same batches, on a CPU, for the rules of this library.

    Example:
        >>> import jax.numpy as jnp
        >>> from funcsgd import sgd
        >>> loss_fn = lambda w, batch: ((w - batch) ** 2).mean()
        >>> run = train_batches(loss_fn, sgd(0.25), jnp.array(0.0), (jnp.full(4, 8.0) for _ in range(3)))
        >>> float(run.params), int(run.state.step)
        (7.0, 3)
    """
    if is_traced():
        raise ValueError("train_batches gets each batch from the host: call it outside jit and vmap, or use train")
    going_on = isinstance(params, TrainingState)
    if going_on and model_state is not None:
        raise ValueError("the state of a run has its own model_state, state.model_state: replace that instead")
    first = int(params.step) if going_on else 0
    if callable(batches):
        if updates is None:
            raise ValueError("give updates: a function of their number has no end")
        arriving: Iterable[Any] = map(batches, range(first, first + updates))
    else:
        arriving = itertools.islice(batches, updates)
    program = Program(loss_fn, tx, None, has_aux, None, None, record, None, 0, 1, True)
    state: Any = params if going_on else None
    seen: list[Seen] = []
    for made, batch in enumerate(arriving, first + 1):
        if state is None:
            make = compiled(initial_state, params, static=(0, 1), donate=None)
            state = make(program, (1,), params, model_state, Inputs(batch, None, ()), ())._replace(losses=jnp.zeros(0))
        # the first state may be the caller's, the others are ours
        step = compiled(one_update, state.params, static=(0,), donate=1 if seen else None)
        state, this = step(program, state, batch)
        seen.append(this)
        if until is not None and until(made, this[0]):
            break
    if not seen:
        raise ValueError("there was no batch: an iterator that is used up gives none")
    loss, recorded = jax.tree.map(lambda *x: jnp.stack(x), *seen)
    return Run(state, History(loss, recorded, Epoch(None, None, None)))  # type: ignore[arg-type]


def one_update(program: Program, state: TrainingState, batch: Any) -> tuple[TrainingState, Seen]:
    """Return the state after one batch, and what was recorded."""
    carry, seen = update(program, state[:3], batch, state.metric, state.step)
    return state._replace(params=carry[0], opt_state=carry[1], model_state=carry[2], step=state.step + 1), seen
