"""`train`: a whole run, compiled into one program."""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from funcsgd.training.batches import BatchOrder, Rows, batch_order, checked_rows, count_samples
from funcsgd.training.compilation import compiled, is_traced
from funcsgd.training.epoch import Inputs, part_of_epoch, whole_epochs
from funcsgd.training.initial_state import initial_state
from funcsgd.training.progress import progress_bar
from funcsgd.training.state import Epoch, Step, TrainingState
from funcsgd.training.update import Program


class History(NamedTuple):
    """The records of a run, or of a part of one. The histories of consecutive parts, joined, are that of the whole.

    Attributes:
        loss: floating, shape ``(n_updates,)``: of each update's batch, before the update.
        recorded: what ``record`` returned, each array with the same leading axis; None without it.
        epochs: an `Epoch` with a leading axis, one entry for each epoch that ended.
    """

    loss: jax.Array
    recorded: Any
    epochs: Epoch


class Run(NamedTuple):
    """The result of `train`.

    Attributes:
        state: the state at the end, from which `train` goes on.
        history: what it showed on the way.
    """

    state: TrainingState
    history: History

    @property
    def params(self) -> Any:
        """The parameters, as they are now."""
        return self.state.params


def train(
    loss_fn: Callable[..., Any],
    tx: optax.GradientTransformation,
    params: Any,
    data: Any,
    batches: int | ArrayLike | BatchOrder | None = None,
    epochs: int | None = None,
    *,
    key: Any = None,
    model_state: Any = None,
    has_aux: bool = False,
    evaluate: Callable[..., Any] | None = None,
    validation: Any = (),
    metric: Callable[[Epoch], Any] | None = None,
    record: Callable[[Step], Any] | None = None,
    progress: bool | Callable[[Any, int, Any], None] = False,
    donate: bool = False,
    unroll: int = 1,
    stop: int | None = None,
    until: Callable[[Epoch], Any] | None = None,
) -> Run:
    """Make all updates of all epochs in one compiled program.

    Equation, for batches ``B_0, B_1, ...`` of an epoch, the last of which may be short::

        g = gradient of loss_fn(params, data[B_k])
        u = tx(g, params, value=loss, grad=g, value_fn=loss_fn(., data[B_k]), metric=metric of the epoch before)
        params = params + u

    Args:
        loss_fn: ``loss_fn(params, batch) -> scalar``, where ``batch`` is ``data`` with fewer samples: the mean over
            them, as torch's losses are. With ``has_aux`` it returns ``(scalar, aux)``, with a ``model_state`` it is
            ``loss_fn(params, batch, model_state) -> (scalar, model_state)``, and with both it returns
            ``(scalar, (model_state, aux))``.
        tx: any optax transformation. The extra arguments reach those that take them: ``value`` and ``grad`` and
            ``value_fn`` as optax's line searches need them, and ``metric`` if that is given.
        params: to begin with; or the `TrainingState` of an earlier call, and then the run goes on where that stopped.
        data: tree of arrays with one leading axis, the samples.
        batches: indices of samples, integers of shape ``(epochs, steps, batch)``, or ``(steps, batch)`` for every epoch
            alike; -1 fills the end of an epoch's last batch, which is then one of its own, smaller shape (what
            ``torch_bridge.data.DataLoader.index_batches(pad=-1)`` gives). Or a `BatchOrder`, drawn in the program; an
            integer is a batch size, for ``batch_order(samples, batches)``.
            None takes all samples in every update, the full gradient: one update is an epoch.
        epochs: of the whole run, from 1, those before ``params`` included if that is a state. Index arrays that hold
            an epoch's own already determine it.
        key: what a `BatchOrder` draws from, or a seed for a `batch_order`; a state has its own.
        model_state: tree of arrays that the loss function changes and no gradient reaches, such as the statistics of
            BatchNorm and the key that dropout draws from. Of a flax nnx model it is the third part of
            ``nnx.split(model, nnx.Param, ...)``, to be merged again with ``copy=True``, and given back as
            ``nnx.state(model, nnx.Not(nnx.Param))``. The state of a run has its own.
        has_aux: whether ``loss_fn`` returns something else besides the loss; ``record`` receives it.
        evaluate: ``evaluate(params, validation) -> tree`` of arrays, called after each epoch; and once more for the
            average of the parameters, if ``tx`` keeps one (`with_average`). ``evaluate(params, validation,
            model_state)``, if there is one: both times the run's (`update_bn` makes an average its own).
        validation: any tree of arrays for ``evaluate``.
        metric: ``metric(epoch) -> scalar`` from an `Epoch`: what `scale_by_plateau` receives, between this epoch and
            the next as torch's ``scheduler.step(metric)`` does. Such as ``lambda epoch: epoch.evaluation["loss"]``, or
            ``lambda epoch: epoch.loss``.
        record: ``record(step) -> tree`` of arrays from a `Step`, after each update, for the history: such as
            ``lambda step: get_learning_rate(step.opt_state)``.
        progress: True draws a line (`progress_bar`); or a function ``(updates made, in all, loss)`` of yours, called
            on the host up to a hundred times a run, in order. Not under ``vmap``.
        unroll: updates in one pass of the compiled loop. Where an update takes a microsecond, 2 to 4 make the run up to
            twice as fast, for a longer compilation. More than 1 is `rounding`: XLA then fuses across updates.
        donate: let the result take the memory of ``params``, which is then gone.
        stop: number of updates, of the whole run, after which to return; within an epoch, if you like. None goes on to
            the end.
        until: ``until(epoch) -> bool`` from an `Epoch`, called on the host after each epoch: True returns there, as an
            early stopping of yours decides. Not under ``jit`` and ``vmap``.

    Returns:
        A `Run`: ``.params``, ``.state`` to go on from, ``.history``.

    Raises:
        ValueError: before anything runs, for indices out of range or misplaced -1, arrays of the data of unequal
            length, epochs that do not fit, a loss that is no floating scalar, a model state that changes its shape, a
            plateau without ``metric``, and a state of another run; always naming what was found.
        TypeError: ``epochs`` or ``stop`` is no integer.

    `train_batches` takes data that come in pieces.

    The program is compiled anew for new functions, so make ``tx``, ``loss_fn`` and the others once and pass the same
    objects. `train` may be called inside ``jit`` and ``vmap``, where hyperparameters, ``key`` and ``params`` can be
    traced (`sweep` does that); a state then is not continued.

    Exactness: bitwise equal, on a CPU, to a loop that calls one jitted update for each batch, and to itself however the
    run is divided by ``stop``, for the rules of this library. Others may leave the compiler a choice of roundings, as
    the ``a * b + c * d`` of ``optax.adam`` does: it mostly chooses alike, but need not. Grouped convolutions are
    `rounding`, and everything against torch is.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from funcsgd import sgd
        >>> x = jnp.arange(5.0)
        >>> loss_fn = lambda w, batch: ((w * batch["x"] - batch["y"]) ** 2).mean()
        >>> rule = sgd(0.05)
        >>> batches = np.array([[0, 1], [2, 3], [4, -1]])  # the third is a batch of one
        >>> run = train(loss_fn, rule, jnp.array(0.0), {"x": x, "y": 3 * x}, batches, epochs=8)
        >>> print(f"{run.params:.3f} after {run.state.step} updates")
        3.000 after 24 updates
    """
    samples = count_samples(data)
    if samples == 0:
        raise ValueError("the data hold no sample: their first axis has length 0")
    if isinstance(batches, int | np.integer):
        if samples is None:
            raise ValueError("there is a batch size, but no data to take batches from")
        batches = batch_order(samples, int(batches))
    rows, sizes = _order(batches, samples)
    epochs = _epochs(rows, epochs)
    total = len(sizes) * epochs
    if progress is True:
        progress = progress_bar
    program = Program(
        loss_fn=loss_fn,
        tx=tx,
        order=batches if isinstance(batches, BatchOrder) else None,
        has_aux=has_aux,
        evaluate=evaluate,
        metric=metric,
        record=record,
        progress=progress or None,
        total=total if progress else 0,
        unroll=unroll,
        in_range=rows is not None and isinstance(rows.full if rows.rest is None else rows.rest, np.ndarray),
    )
    inputs = Inputs(data, rows, validation)
    if isinstance(params, TrainingState):
        if model_state is not None:
            raise ValueError("the state of a run has its own model_state, state.model_state: replace that instead")
        state, first = params, _steps_made(params, len(sizes), total)
    else:
        if (key is None) != (program.order is None):
            raise ValueError("a BatchOrder needs a key to draw from, and nothing else does: train(..., key=...)")
        if isinstance(key, int | np.integer) and program.order is not None and program.order.of is not None:
            key = jax.random.key(key)  # of a batch_order; another BatchOrder may draw from anything
        make = compiled(initial_state, params, static=(0, 1), donate=2 if donate else None)
        state, first = make(program, sizes, params, model_state, inputs, () if key is None else key), 0
    last = total if stop is None else _integer("stop", stop)
    if until is not None and is_traced():
        raise ValueError("until decides on the host: call train outside jit and vmap, or without it")
    if not first < last <= total:
        raise ValueError(f"the run stands at update {first} of {total}; it cannot go on to {last}")
    histories = []
    while first < last:
        epoch, start = divmod(first, len(sizes))
        if start == 0 and last - first >= len(sizes):
            n = (last - first) // len(sizes) if until is None else 1
            whole = compiled(whole_epochs, state.params, static=(0, 1), donate=2 if donate else None)
            state, seen, summaries = whole(program, n, state, _of_epochs(inputs, slice(epoch, epoch + n)))
            made = n * len(sizes)
        else:
            end = min(len(sizes), start + last - first)
            part = compiled(part_of_epoch, state.params, static=(0,), donate=1 if donate else None)
            state, seen, summary = part(program, state, _of_epochs(inputs, epoch), np.int32(start), np.int32(end))
            seen = jax.tree.map(lambda x, start=start, end=end: x[start:end], seen)
            ended = slice(int(end == len(sizes)))
            summaries = jax.tree.map(lambda x, ended=ended: x[None][ended], summary)
            made = end - start
        first += made
        histories.append(History(seen[0], seen[1], summaries))
        donate = True  # from here on the state is ours
        if until is not None and first % len(sizes) == 0 and until(jax.tree.map(lambda x: x[-1], summaries)):
            break
    history = histories[0] if len(histories) == 1 else jax.tree.map(lambda *h: jnp.concatenate(h), *histories)
    return Run(state, history)


def _order(batches: ArrayLike | BatchOrder | None, samples: int | None) -> tuple[Rows | None, tuple[int, ...]]:
    """The index array, checked, and the number of samples in each update of an epoch."""
    if batches is None:
        return None, (samples or 1,)
    if samples is None:
        raise ValueError("there are batches, but no data to take them from")
    if isinstance(batches, BatchOrder) and batches.of not in (None, samples):
        raise ValueError(f"the batch_order is of {batches.of} samples, but the data have {samples}")
    if not isinstance(batches, BatchOrder):
        rows = checked_rows(batches, samples)
        return rows, rows.sizes
    whole, rest = divmod(batches.samples, batches.batch_size)
    return None, (batches.batch_size,) * whole + ((rest,) if rest and not batches.drop_last else ())


def _epochs(rows: Rows | None, epochs: int | None) -> int:
    own = len(jax.tree.leaves(rows)[0]) if rows is not None and rows.own else None
    if own is not None and epochs not in (None, own):
        raise ValueError(f"batches hold {own} epochs, but epochs={epochs}")
    epochs = own if epochs is None else epochs
    if epochs is None:
        raise ValueError("give epochs: only batches of shape (epochs, steps, batch) determine their number")
    epochs = _integer("epochs", epochs)
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, but is {epochs}")
    return epochs


def _integer(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, but is {value!r}") from None


def _of_epochs(inputs: Inputs, which: int | slice) -> Inputs:
    """Keep the rows of one epoch, or of a few."""
    if inputs.rows is None or not inputs.rows.own:
        return inputs
    return inputs._replace(rows=jax.tree.map(lambda x: x[which], inputs.rows))


def _steps_made(state: TrainingState, steps: int, total: int) -> int:
    if isinstance(state.step, jax.core.Tracer):
        raise ValueError("a state can only be continued outside jit and vmap, where its number of steps is known")
    if state.losses.shape != (steps,):
        raise ValueError(f"the state is of a run with {len(state.losses)} updates in an epoch, but here are {steps}")
    if int(state.step) >= total:
        raise ValueError(f"the run is over: its state has made {int(state.step)} of {total} updates")
    return int(state.step)
