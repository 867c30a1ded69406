"""The progress of torch's schedulers, and copies of them further on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from funcsgd.arithmetic.float64_words import from_words
from funcsgd.stages import ScaleBySchedulersState
from torch_bridge.translate.stepping import StepSchedulers, copied, leaving_alone

if TYPE_CHECKING:
    from torch.optim.lr_scheduler import LRScheduler


def as_list(scheduler: "LRScheduler | Sequence[LRScheduler] | None") -> "list[LRScheduler]":
    """Return one scheduler, several or none as a list."""
    if scheduler is None:
        return []
    return list(scheduler) if isinstance(scheduler, Sequence) else [scheduler]


def watches_metric(scheduler: Any) -> bool:
    """Return True for torch's ReduceLROnPlateau."""
    return type(scheduler).__name__ == "ReduceLROnPlateau"


def epochs_done(schedulers: "Sequence[LRScheduler]") -> int:
    """Return how often schedulers were stepped since their construction.

    Raises:
        ValueError: some more often than others, or one does not count its steps.
    """
    done = [_epochs_done(scheduler) for scheduler in schedulers]
    if len(set(done)) > 1:
        listed = ", ".join(f"{type(each).__name__} {epochs}" for each, epochs in zip(schedulers, done, strict=True))
        raise ValueError(
            f"schedulers that take turns are stepped together, but they stand at epochs {listed}: give only those that "
            "the script still steps, or describe by step_schedulers which it steps when"
        )
    return done[0]


def _epochs_done(scheduler: Any) -> int:
    inner = getattr(scheduler, "_schedulers", None)
    if type(scheduler).__name__ == "ChainedScheduler" and inner:
        return _epochs_done(inner[0])
    if not hasattr(scheduler, "last_epoch"):
        raise ValueError(
            f"{type(scheduler).__name__} has no last_epoch: give step_schedulers, and steps_done, the number of "
            "optimizer.step() made so far"
        )
    return max(0, int(scheduler.last_epoch))


def standing(
    schedulers: "Sequence[LRScheduler]", steps_per_epoch: int, steps_done: int | None, own_steps: bool
) -> tuple[int, int]:
    """Return the number of epochs and the number of updates made so far.

    Args:
        schedulers: in the order of their steps.
        steps_per_epoch: as in `torch_bridge.from_torch`.
        steps_done: likewise.
        own_steps: the script steps them in its own way, so that their counts do not show the epoch.

    Raises:
        ValueError: the numbers do not fit, or ``steps_done`` is needed.
    """
    if own_steps:
        if steps_done is None and any(_epochs_done(scheduler) for scheduler in schedulers):
            raise ValueError(
                "with step_schedulers, schedulers that were stepped already do not show the epoch: give steps_done, "
                "the number of optimizer.step() made so far"
            )
        count = steps_done or 0
        return count // steps_per_epoch, count
    done = epochs_done(schedulers)
    count = done * steps_per_epoch if steps_done is None else steps_done
    if count // steps_per_epoch != done:
        raise ValueError(
            f"after {count} steps, {steps_per_epoch} to an epoch, the scheduler should stand at epoch "
            f"{count // steps_per_epoch}, but it stands at {done}: check both numbers, or describe by step_schedulers "
            "when the script steps it"
        )
    return done, count


def advanced(
    schedulers: "Sequence[LRScheduler]",
    done: int,
    epochs: int,
    states: Sequence[ScaleBySchedulersState] = (),
    value: float | None = None,
    step_schedulers: StepSchedulers | None = None,
) -> tuple[list[Any], list[dict[str, Any]]]:
    """Return copies of schedulers after ``epochs`` steps in all, and the parameter groups as they would leave them.

    The schedulers given, and their optimizer, stay as they are.

    Args:
        schedulers: in the order of their steps.
        done: where they stand.
        epochs: where the run stands.
        states: where one of them watches a metric, what the run made of it, for each parameter group.
        value: the metric of the latest epoch, if the run has not used it yet.
        step_schedulers: as in `torch_bridge.from_torch`.

    Raises:
        ValueError: a scheduler is already further, or ``value`` is missing.
    """
    stands = int(states[0].last_epoch) if states else epochs
    if done > stands:
        raise ValueError(f"the scheduler stands at epoch {done}, and the run only at {stands}: give a fresh one")
    optimizer = schedulers[0].optimizer
    with leaving_alone(optimizer, schedulers):
        copies, groups = copied(schedulers, optimizer)
        for epoch in range(done, stands):
            if step_schedulers is not None:
                step_schedulers(epoch, copies)
                continue
            for scheduler in copies:
                if not watches_metric(scheduler):
                    scheduler.step()
        if states:
            _place(copies, groups, states)
        if epochs > stands:  # one epoch at most: the run uses a metric in the next epoch's first update
            if value is None:
                raise ValueError(
                    f"the run stands between two epochs and has not seen the metric of epoch {stands} yet: pass value="
                )
            for scheduler in copies:
                scheduler.step(*[value] * watches_metric(scheduler))
    return copies, groups


def _place(copies: list[Any], groups: list[dict[str, Any]], states: Sequence[ScaleBySchedulersState]) -> None:
    """Write what depends on the run: the learning rates, and the history of the metric."""
    rates = [float(from_words(state.words)) for state in states]
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate
    plateaus = iter(states[0].plateaus)  # torch has one for all groups; here they are equal
    for scheduler in copies:
        scheduler._last_lr = list(rates)
        if watches_metric(scheduler):
            seen = next(plateaus)
            scheduler.last_epoch = int(states[0].last_epoch)
            scheduler.best = float(seen.best)
            scheduler.num_bad_epochs = int(seen.num_bad_epochs)
            scheduler.cooldown_counter = int(seen.cooldown_counter)
