"""The state of a JAX run -> state_dicts for torch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import optax

import funcsgd
from funcsgd.averages import AverageState
from funcsgd.stages import ScaleBySchedulersState
from torch_bridge.translate.optimizers import adapter_of
from torch_bridge.translate.parameters import parameter_names
from torch_bridge.translate.scheduler_progress import advanced, as_list, standing
from torch_bridge.translate.states import nodes_of, torch_state
from torch_bridge.translate.stepping import StepSchedulers
from torch_bridge.translate.swa_utils import average_to_torch
from torch_bridge.translate.tensors import to_tensor

if TYPE_CHECKING:
    import torch
    from torch.optim.lr_scheduler import LRScheduler


class TorchState(NamedTuple):
    """The result of `to_torch`: state_dicts, each for the ``load_state_dict`` of the object it is named after.

    Attributes:
        model: torch name -> tensor; the parameters only, so load it with ``strict=False`` where there are buffers.
        optimizer: of the optimizer.
        scheduler: of the scheduler; a list where a list was given, None without one.
        average: of the AveragedModel; None where the state has no average.
    """

    model: dict[str, "torch.Tensor"]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any] | list[dict[str, Any]] | None
    average: dict[str, "torch.Tensor"] | None


def to_torch(
    params: Mapping[str, jax.Array],
    state: optax.OptState,
    optimizer: "torch.optim.Optimizer",
    scheduler: "LRScheduler | Sequence[LRScheduler] | None" = None,
    *,
    named_parameters: Iterable[tuple[str, "torch.Tensor"]] | None = None,
    steps_per_epoch: int = 1,
    value: float | None = None,
    steps_done: int | None = None,
    step_schedulers: StepSchedulers | None = None,
) -> TorchState:
    """Return the state of a JAX run as state_dicts for torch; the inverse of `from_torch`.

    Args:
        params: torch name -> array, as `from_torch` lays them out.
        state: the state of `from_torch`'s rule.
        optimizer: the optimizer to load the result into, at or before the place where the JAX run stands. It
            gives names and hyperparameters and is left as it is.
        scheduler: its scheduler or schedulers, likewise.
        named_parameters: as in `from_torch`.
        steps_per_epoch: as in `from_torch`.
        value: the metric of the latest epoch, for a ReduceLROnPlateau, if the run stands between two epochs: JAX uses
            it in the next update, torch before that.
        steps_done: how many ``optimizer.step()`` the torch side given has made; None takes its scheduler's count.
        step_schedulers: as in `from_torch`.

    Returns:
        `TorchState`.

    Raises:
        ValueError: the optimizer has a parameter that ``params`` lacks, the scheduler is further than the JAX run,
            ``value`` is missing, or the scheduler, stepped to where the run stands, sets another learning rate than
            the run has.

    Exactness: bitwise: torch goes on with the bits with which it would have gone on.
    """
    names = parameter_names(optimizer, named_parameters)
    flat = [name for row in names for name in row]
    if missing := [name for name in flat if name not in params]:
        raise ValueError(
            f"the optimizer has a parameter {missing[0]!r}, params have {', '.join(map(str, params))}: give to_torch "
            "the same named_parameters that from_torch was given"
        )
    found = torch_state(state, params, adapter_of(optimizer))
    started = found.pop("started", {})
    made: dict[str, Any] = optimizer.state_dict()
    made["state"] = {
        index: {key: to_tensor(tree[name]) for key, tree in found.items() if tree[name] is not None}
        for index, name in enumerate(flat)
        if started.get(name) is not None and bool(started[name])
    }
    scheduled: Any = None
    if schedulers := as_list(scheduler):
        watching = nodes_of(state, ScaleBySchedulersState)
        epochs = updates_made(state) // steps_per_epoch
        done, _ = standing(schedulers, steps_per_epoch, steps_done, step_schedulers is not None)
        moved, groups = advanced(schedulers, done, epochs, watching, value, step_schedulers)
        if not watching:
            _check_rates(state, groups, epochs)
        scheduled = [copied.state_dict() for copied in moved]
        scheduled = scheduled if isinstance(scheduler, Sequence) else scheduled[0]
        for group, now in zip(made["param_groups"], groups, strict=True):
            group.update({key: entry for key, entry in now.items() if key != "params"})
    averages = nodes_of(state, AverageState)
    averaged = average_to_torch(averages[0]) if averages else None
    return TorchState({name: to_tensor(params[name]) for name in flat}, made, scheduled, averaged)


def updates_made(state: optax.OptState) -> int:
    """Return how many updates a state has counted."""
    counts: list[Any] = []

    def look(node: Any) -> None:
        if isinstance(node, AverageState):  # which counts parameters, not updates
            return
        if "count" in getattr(node, "_fields", ()):
            counts.append(node.count)
        if isinstance(node, tuple | list | dict):
            for inner in node.values() if isinstance(node, dict) else node:
                look(inner)

    look(state)
    return max((int(count) for count in counts), default=0)


def _check_rates(state: optax.OptState, groups: Sequence[Mapping[str, Any]], epochs: int) -> None:
    found = funcsgd.get_learning_rate(state)
    for index, (rate, group) in enumerate(zip(found if isinstance(found, list) else [found], groups, strict=True)):
        expected = np.asarray(float(group["lr"]), rate.dtype)
        if not np.array_equal(expected, rate, equal_nan=True):
            raise ValueError(
                f"the scheduler, stepped to epoch {epochs}, sets the learning rate of group {index} to "
                f"{float(expected)!r}, but the run has {float(rate)!r}: give optimizer and scheduler as "
                "they were when from_torch was called"
            )
