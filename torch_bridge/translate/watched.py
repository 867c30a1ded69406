"""Schedulers beside a ReduceLROnPlateau: their operations on a learning rate that is known only during the run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from funcsgd.schedules.operations import NOTHING, UNDEFINED, Operations, Steps, UnknownRate, stacked, steps_of
from torch_bridge.translate.optimizers import Number, adapter_of
from torch_bridge.translate.scheduler_progress import watches_metric
from torch_bridge.translate.stepping import cannot_step, copied, leaving_alone, names_of

if TYPE_CHECKING:
    import torch


def operations_ahead(
    optimizer: "torch.optim.Optimizer", schedulers: Sequence[Any], done: int, steps: int
) -> tuple[list[list[Operations | None]], dict[Number, npt.NDArray[np.float64]]]:
    """Step copies of schedulers with a learning rate that records the operations on it.

    Args:
        optimizer: theirs.
        schedulers: in the order of their steps; one at least watches a metric, and is skipped.
        done: number of epochs so far.
        steps: how many steps to look ahead. Before and beyond, the learning rate is NaN.

    Returns:
        For each group, for each scheduler, its operations, None where it watches a metric; and the optimizer's other
        numbers, float64 of shape ``(steps + 1, groups)``.

    Raises:
        ValueError: a learning rate is a tensor in less than float64, or a scheduler depends on the learning rate.
    """
    for index, group in enumerate(optimizer.param_groups):
        if str(getattr(group["lr"], "dtype", "torch.float64")) != "torch.float64":
            raise ValueError(
                f"the learning rate of group {index} is a tensor of {group['lr'].dtype}, to which torch rounds what "
                "ReduceLROnPlateau leaves; that is not followed: use a number or a float64 tensor"
            )
    numbers = [number for number in adapter_of(optimizer).numbers if number.option != "lr"]
    with leaving_alone(optimizer, schedulers):
        copies, groups = copied(schedulers, optimizer)
        rows: list[list[list[Steps]]] = [[[UNDEFINED] * (done + 1) for _ in copies] for _ in groups]
        others = [_others(groups, numbers)]
        for epoch in range(steps):
            try:
                new = [_step(scheduler, groups) for scheduler in copies]
            except Exception as error:  # torch's, or that it depends on the learning rate
                if epoch == 0:
                    raise ValueError(cannot_step(schedulers, groups, error)) from error
                if isinstance(error, TypeError):
                    raise ValueError(
                        f"{names_of(schedulers)} cannot be followed beside ReduceLROnPlateau, at step {epoch}: {error}"
                    ) from error
                break
            for i, each in enumerate(rows):
                for j, row in enumerate(each):
                    row.append(new[j][i])
            others.append(_others(groups, numbers))
    metric = [watches_metric(scheduler) for scheduler in schedulers]
    columns = dict(zip(numbers, np.moveaxis(np.array(others), 1, 0), strict=True))
    if all(metric):
        return [[None] * len(metric) for _ in groups], columns
    made = [
        [None if watches else stacked([*row, UNDEFINED]) for row, watches in zip(each, metric, strict=True)]
        for each in rows
    ]
    return made, columns


def _others(groups: list[dict[str, Any]], numbers: Sequence[Number]) -> list[list[float]]:
    return [[float(number.of(group)) for group in groups] for number in numbers]


def _step(scheduler: Any, groups: list[dict[str, Any]]) -> list[Steps]:
    """One step of one scheduler: what it does to each group's learning rate."""
    if watches_metric(scheduler):
        return [NOTHING for _ in groups]
    for group in groups:
        group["lr"] = UnknownRate(())
    scheduler.step()
    return [steps_of(group["lr"]) or NOTHING for group in groups]
