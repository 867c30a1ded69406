"""An optimizer whose schedulers set its learning rate, and its momentum: the rule, and the state they are in."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from funcsgd import AddMomentumState, ScaleByLearningRateState, ScaleBySchedulersState, scale_by_schedulers
from funcsgd.double import to_words
from funcsgd.schedules import per_epoch
from torch_bridge.translate.lr_scheduler import check_owner, check_together, plateau_from_torch
from torch_bridge.translate.optim import Translated, sgd_from_torch
from torch_bridge.translate.scheduler_progress import standing, watches_metric
from torch_bridge.translate.stepping import StepSchedulers, look_ahead, names_of
from torch_bridge.translate.watched import operations_ahead

if TYPE_CHECKING:
    import torch
    from torch.optim.lr_scheduler import LRScheduler


def scheduled_from_torch(
    optimizer: "torch.optim.Optimizer",
    schedulers: "Sequence[LRScheduler]",
    named_parameters: Iterable[tuple[str, "torch.Tensor"]] | None,
    steps_per_epoch: int,
    epochs: int | None,
    steps_done: int | None,
    step_schedulers: StepSchedulers | None,
) -> Translated:
    """Translate an optimizer and its schedulers; the arguments are those of `torch_bridge.from_torch`."""
    check_owner(schedulers, optimizer)
    plateaus: list[Any] = [scheduler for scheduler in schedulers if watches_metric(scheduler)]
    if plateaus and step_schedulers is not None:
        raise ValueError("step_schedulers cannot step a ReduceLROnPlateau, whose metric only the run will know")
    if step_schedulers is None:
        check_together(schedulers)
    done, count = standing(schedulers, steps_per_epoch, steps_done, step_schedulers is not None)
    ahead = steps_ahead(schedulers, epochs, done)
    overrides: list[dict[str, Any]] = [{} for _ in optimizer.param_groups]
    if plateaus:
        listed, momenta = operations_ahead(optimizer, schedulers, done, ahead)
        for index, (override, row) in enumerate(zip(overrides, listed, strict=True)):
            # A fresh init begins at epoch 0, whose learning rate is known if the schedulers stand there.
            first = float(optimizer.param_groups[index]["lr"]) if done == 0 else float("nan")
            turns = [
                replace(plateau_from_torch(scheduler, index), learning_rate=first) if operations is None else operations
                for scheduler, operations in zip(schedulers, row, strict=True)
            ]
            override["lr"] = scale_by_schedulers(turns, 1, steps_per_epoch)
    else:
        rates, momenta = look_ahead(optimizer, schedulers, done, ahead, step_schedulers)
        for override, column in zip(overrides, rates.T, strict=True):
            override["lr"] = per_epoch(_read(column, done), steps_per_epoch)
    for override, column in zip(overrides, momenta.T, strict=True):
        if (column != column[0]).any():
            override["momentum"] = per_epoch(_read(column, done), steps_per_epoch)
    made = sgd_from_torch(optimizer, named_parameters, overrides)
    in_force = iter([float(group["lr"]) for group in optimizer.param_groups])

    def move(node: Any) -> Any:
        """The node as if all updates so far had been made here."""
        if isinstance(node, AddMomentumState):
            return node._replace(count=jnp.int32(count))
        if isinstance(node, ScaleByLearningRateState):
            rate = jnp.asarray(next(in_force), node.learning_rate.dtype)
            return node._replace(count=jnp.int32(count), learning_rate=rate)
        if isinstance(node, ScaleBySchedulersState):
            words = to_words(next(in_force))
            seen = [
                before._replace(
                    words=words + 0,  # an array of its own: a state may be donated
                    best=jnp.asarray(plateau.best, before.best.dtype),
                    num_bad_epochs=jnp.int32(plateau.num_bad_epochs),
                    cooldown_counter=jnp.int32(plateau.cooldown_counter),
                )
                for before, plateau in zip(node.plateaus, plateaus, strict=True)
            ]
            return ScaleBySchedulersState(jnp.int32(count), jnp.int32(done), words, tuple(seen))
        return node

    kinds = (AddMomentumState, ScaleByLearningRateState, ScaleBySchedulersState)
    return made._replace(state=jax.tree.map(move, made.state, is_leaf=lambda node: isinstance(node, kinds)))


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
    """The longest time that a scheduler knows of."""
    names = ("T_max", "total_steps", "total_iters", "anneal_epochs", "step_size", "T_i", "total_size")
    known = [int(value) for name in names if isinstance(value := getattr(scheduler, name, None), int | float)]
    known += [int(value) for name in ("milestones", "_milestones") for value in getattr(scheduler, name, ())]
    return min(1_000_000, max([0, *known, *(_length(child) for child in getattr(scheduler, "_schedulers", ()))]))


def _read(column: npt.NDArray[np.float64], done: int) -> optax.Schedule:
    """What is in force in an epoch: known from ``done`` on, for as long as the column; NaN before and beyond."""
    values = np.concatenate([[np.nan], column, [np.nan]])

    def read(epoch: Any) -> jax.Array:
        return jnp.asarray(values)[jnp.clip(jnp.asarray(epoch) - (done - 1), 0, len(values) - 1)]

    return read
