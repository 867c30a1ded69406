"""torch.optim.lr_scheduler -> funcsgd's schedulers: the same learning rates, epoch by epoch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from funcsgd.schedules import ChainedScheduler, OneCycleLR, ReduceLROnPlateau, Schedule
from torch_bridge.translate.optimizers import adapter_of, learning_rate_of
from torch_bridge.translate.scheduler_classes import translate_scheduler
from torch_bridge.translate.scheduler_progress import as_list, epochs_done
from torch_bridge.translate.stepping import is_torchs, look_ahead, names_of

if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LRScheduler

Turns: TypeAlias = list[Schedule | ReduceLROnPlateau]
"""Schedulers of one parameter group that are stepped one after another, in that order."""


VERIFIED = 50
"""The number of torch's next epochs with which a schedule is compared before it is returned."""


def schedules_from_torch(scheduler: "LRScheduler | Sequence[LRScheduler]") -> list[Schedule]:
    """Translate a scheduler into one schedule for each parameter group, counted from the scheduler's construction.

    Args:
        scheduler: any scheduler of ``torch.optim.lr_scheduler`` but ReduceLROnPlateau, nested ones too, and SWALR; in
            whatever state it is, as long as its formula leads there: torch's next 50 epochs are compared, by stepping
            a copy. `from_torch` with the optimizer takes any other state too. Several that are stepped one after
            another, in the order of their steps, are a `ChainedScheduler`.

    Returns:
        A list, one `Schedule` a group: ``schedule.table(n)`` is what the scheduler sets, in every bit, had it been
        stepped from its beginning. `epochs_done` returns where it stands.

    Raises:
        TypeError: there is no equivalent; the message names the class.
        ValueError: the learning rate in force, or one of the next 50, is not the one that the schedule has.

    Exactness: bitwise.
    """
    schedulers = as_list(scheduler)
    check_together(schedulers)
    found = []
    for each in turns_from_torch(schedulers):
        schedule = chained(each)
        if schedule is None or has_plateau(each):
            raise TypeError(
                "ReduceLROnPlateau watches a metric, so it is no schedule: give it to from_torch with its optimizer"
            )
        found.append(schedule)
    done = epochs_done(schedulers)
    optimizer, names = schedulers[0].optimizer, names_of(schedulers)
    for index, (schedule, group) in enumerate(zip(found, optimizer.param_groups, strict=True)):
        if (expected := schedule.table(done + 1)[done]) != float(group["lr"]):
            raise ValueError(
                f"the learning rate of group {index} is {float(group['lr'])!r}, but {names} would have set "
                f"{float(expected)!r} at epoch {done}: something else changed it, or several schedulers take turns "
                "(give all of them, in the order of their steps, or give the optimizer to from_torch, which goes on "
                "from any learning rate)"
            )
    rate = learning_rate_of(adapter_of(optimizer))
    rates = look_ahead(optimizer, schedulers, done, VERIFIED)[rate]
    for index, (schedule, torchs) in enumerate(zip(found, rates.T, strict=True)):
        length = min(len(torchs), table_length(schedule, done + len(torchs)) - done)
        ours = schedule.table(done + length)[done:]
        if (differs := np.flatnonzero(ours != torchs[:length])).size:
            k = int(differs[0])
            raise ValueError(
                f"{names} is in a state that its formula does not lead to: at epoch {done + k} torch sets the learning "
                f"rate of group {index} to {float(torchs[k])!r}, the formula to {float(ours[k])!r}; give the "
                "optimizer to from_torch, which goes on from any state"
            )
    return found


def check_owner(schedulers: Sequence[Any], optimizer: Any) -> None:
    """Raise ValueError if a scheduler sets the learning rate of another optimizer."""
    for scheduler in schedulers:
        if not callable(getattr(scheduler, "step", None)):
            raise TypeError(f"a scheduler has a method step, but {type(scheduler).__name__} has none")
        if getattr(scheduler, "optimizer", optimizer) is not optimizer:
            raise ValueError(
                f"{type(scheduler).__name__} sets the learning rate of another optimizer than the one given: give both "
                "of the same run"
            )
        if not is_torchs(scheduler) and any(kind.__name__ == "ReduceLROnPlateau" for kind in type(scheduler).__mro__):
            raise TypeError(
                f"{type(scheduler).__name__} is a ReduceLROnPlateau of your own, which watches a metric in a way that "
                "cannot be known: use torch's class"
            )


def check_together(schedulers: Sequence[Any]) -> None:
    """Raise ValueError for SWALR among others: scripts step it in place of them, not after them."""
    if len(schedulers) > 1 and any(type(scheduler).__name__ == "SWALR" for scheduler in schedulers):
        raise ValueError(
            f"{names_of(schedulers)} in a list are stepped one after another in every epoch, but scripts step SWALR in "
            "place of the others once it has taken over: describe to from_torch which is stepped when, "
            "step_schedulers=lambda epoch, schedulers: schedulers[epoch >= swa_start].step(), or give it SWALR alone "
            "from then on"
        )


def turns_from_torch(schedulers: "Sequence[LRScheduler]") -> list[Turns]:
    """Translate schedulers that are stepped one after another; a list of translations for each parameter group.

    Raises:
        TypeError: there is no equivalent. ValueError: a group was added after the scheduler was made.
    """
    groups = range(len(schedulers[0].optimizer.param_groups))
    for scheduler in schedulers:
        if (first := len(getattr(scheduler, "base_lrs", groups))) < len(groups):
            raise ValueError(
                f"{type(scheduler).__name__} was made when the optimizer had {first} parameter groups, and has no "
                f"formula for group {first}, which was added later: make the scheduler after the last add_param_group, "
                "or give the optimizer to from_torch, which follows it as torch does"
            )
    return [[translate_scheduler(scheduler, index) for scheduler in schedulers] for index in groups]


def chained(turns: Turns) -> Schedule | None:
    """Return the schedules among schedulers as one; None where there are none."""
    schedules = [scheduler for scheduler in turns if isinstance(scheduler, Schedule)]
    return ChainedScheduler(schedules) if len(schedules) > 1 else next(iter(schedules), None)


def has_plateau(turns: Turns) -> bool:
    """Return True if one of the schedulers is a ReduceLROnPlateau."""
    return any(isinstance(scheduler, ReduceLROnPlateau) for scheduler in turns)


def table_length(schedule: Schedule, epochs: int) -> int:
    """Return how many of ``epochs`` a schedule can be tabulated for: OneCycleLR ends with its cycle."""
    inner = schedule.schedulers if isinstance(schedule, ChainedScheduler) else ()
    ends = [int(each.total_steps) + 1 for each in (schedule, *inner) if isinstance(each, OneCycleLR)]
    return min([epochs, *ends])
