"""The values that schedulers set, step by step: schedules for a rule's numbers, and the state at this point."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from funcsgd import scale_by_schedulers
from funcsgd.arithmetic.float64_words import to_words
from funcsgd.schedules import per_epoch
from funcsgd.schedules.tables import entry
from funcsgd.stages import ScaleBySchedulersState
from torch_bridge.translate.lr_scheduler import check_owner, check_together
from torch_bridge.translate.optimizers import Number, adapter_of, learning_rate_of
from torch_bridge.translate.scheduler_classes import plateau_from_torch
from torch_bridge.translate.scheduler_progress import standing, watches_metric
from torch_bridge.translate.stepping import StepSchedulers, look_ahead, names_of
from torch_bridge.translate.watched import operations_ahead

if TYPE_CHECKING:
    import torch
    from torch.optim.lr_scheduler import LRScheduler


class Scheduled(NamedTuple):
    """The result of `scheduled_numbers`.

    Attributes:
        overrides: for each parameter group, the numbers that change, as schedules.
        epochs: how often the schedulers were stepped so far.
        updates: how many updates were made so far.
    """

    overrides: list[dict[Number, Any]]
    epochs: int
    updates: int


def scheduled_numbers(
    optimizer: "torch.optim.Optimizer",
    schedulers: "Sequence[LRScheduler]",
    steps_per_epoch: int,
    epochs: int | None,
    steps_done: int | None,
    step_schedulers: StepSchedulers | None,
) -> Scheduled:
    """Find out what schedulers will set; the arguments are those of `torch_bridge.from_torch`."""
    check_owner(schedulers, optimizer)
    plateaus: list[Any] = [scheduler for scheduler in schedulers if watches_metric(scheduler)]
    if plateaus and step_schedulers is not None:
        raise ValueError("step_schedulers cannot step a ReduceLROnPlateau, whose metric is known only during the run")
    if step_schedulers is None:
        check_together(schedulers)
    done, count = standing(schedulers, steps_per_epoch, steps_done, step_schedulers is not None)
    ahead = steps_ahead(schedulers, epochs, done)
    adapter = adapter_of(optimizer)
    rate = learning_rate_of(adapter)
    overrides: list[dict[Number, Any]] = [{} for _ in optimizer.param_groups]
    if plateaus:
        listed, columns = operations_ahead(optimizer, schedulers, done, ahead)
        for index, (override, row) in enumerate(zip(overrides, listed, strict=True)):
            # A fresh init begins at epoch 0, whose learning rate is known if the schedulers stand there.
            first = float(optimizer.param_groups[index]["lr"]) if done == 0 else float("nan")
            turns = [
                replace(plateau_from_torch(scheduler, index), learning_rate=first) if operations is None else operations
                for scheduler, operations in zip(schedulers, row, strict=True)
            ]
            override[rate] = scale_by_schedulers(turns, 1, steps_per_epoch)
    else:
        columns = look_ahead(optimizer, schedulers, done, ahead, step_schedulers, adapter)
        for override, column in zip(overrides, columns.pop(rate).T, strict=True):
            override[rate] = per_epoch(_read(column, done), steps_per_epoch)
    for number, values in columns.items():
        for override, column in zip(overrides, values.T, strict=True):
            if (column != column[0]).any():
                override[number] = per_epoch(_read(column, done), steps_per_epoch)
    return Scheduled(overrides, done, count)


def moved(
    state: optax.OptState, optimizer: "torch.optim.Optimizer", schedulers: Sequence[Any], at: Scheduled
) -> optax.OptState:
    """Return a fresh state as if all updates so far had been made in it, but for what the optimizer itself holds."""
    plateaus: list[Any] = [scheduler for scheduler in schedulers if watches_metric(scheduler)]
    in_force = iter([float(group["lr"]) for group in optimizer.param_groups])

    def move(node: Any) -> Any:
        if not _is_state(node):
            return node
        if isinstance(node, ScaleBySchedulersState):
            return schedulers_at(node, next(in_force), plateaus, at.updates, at.epochs)
        changed: dict[str, Any] = {"count": jnp.int32(at.updates)} if "count" in node._fields else {}
        if "learning_rate" in node._fields:
            changed["learning_rate"] = jnp.asarray(next(in_force), node.learning_rate.dtype)
        if "words" in node._fields:
            changed["words"] = to_words(next(in_force))
        changed |= {
            field: jax.tree.map(move, value, is_leaf=_is_state)
            for field, value in zip(node._fields, node, strict=True)
            if field not in changed
        }
        return node._replace(**changed)

    return jax.tree.map(move, state, is_leaf=_is_state)


def schedulers_at(
    node: ScaleBySchedulersState, rate: float, plateaus: Sequence[Any], updates: int, epochs: int
) -> ScaleBySchedulersState:
    """Return a fresh state of schedulers, one of which watches a metric, as it is at a place in a run.

    Args:
        node: the state at the beginning.
        rate: the learning rate in force.
        plateaus: torch's ReduceLROnPlateau, or what has their ``best``, ``num_bad_epochs`` and ``cooldown_counter``.
        updates: how many updates were made.
        epochs: how often the schedulers were stepped.
    """
    words = to_words(rate)
    seen = [
        before._replace(
            words=words + 0,  # an array of its own: a state may be donated
            best=jnp.asarray(plateau.best, before.best.dtype),
            num_bad_epochs=jnp.int32(plateau.num_bad_epochs),
            cooldown_counter=jnp.int32(plateau.cooldown_counter),
        )
        for before, plateau in zip(node.plateaus, plateaus, strict=True)
    ]
    return ScaleBySchedulersState(jnp.int32(updates), jnp.int32(epochs), words, tuple(seen))


def _is_state(node: Any) -> bool:
    """Whether a node of a state counts updates or holds a learning rate."""
    fields = getattr(node, "_fields", ()) if isinstance(node, tuple) else ()
    return bool({"count", "learning_rate", "words"} & set(fields))


def steps_ahead(schedulers: Sequence[Any], epochs: int | None, done: int) -> int:
    """Return how many steps of schedulers to look ahead.

    Args:
        schedulers: as torch has them.
        epochs: how many steps the run makes in all; None: 10,000 from here, or more where a scheduler is longer.
        done: how many were made.

    Raises:
        ValueError: more were made than the run has.
    """
    if epochs is None:
        return max(10_000, *(_length(scheduler) for scheduler in schedulers))
    if epochs < done:
        raise ValueError(
            f"epochs={epochs} is the length of the whole run, but {names_of(schedulers)} was already stepped {done} "
            "times: give the number of scheduler.step() from the beginning to the end, or leave it out"
        )
    return epochs - done


def _length(scheduler: Any) -> int:
    """The longest time among a scheduler's own numbers."""
    names = ("T_max", "total_steps", "total_iters", "anneal_epochs", "step_size", "T_i", "total_size")
    known = [int(value) for name in names if isinstance(value := getattr(scheduler, name, None), int | float)]
    known += [int(value) for name in ("milestones", "_milestones") for value in getattr(scheduler, name, ())]
    return min(1_000_000, max([0, *known, *(_length(child) for child in getattr(scheduler, "_schedulers", ()))]))


def _read(column: npt.NDArray[np.float64], done: int) -> optax.Schedule:
    """The value in force in an epoch: known from ``done`` on, for as long as the column; NaN before and beyond."""
    values = np.concatenate([[np.nan], column, [np.nan]])

    def read(epoch: Any) -> jax.Array:
        return entry(values, jnp.clip(jnp.asarray(epoch) - (done - 1), 0, len(values) - 1))

    return read
