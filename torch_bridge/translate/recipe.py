"""A whole recipe, optimizer, scheduler and average, from torch to funcsgd and back, with the state it is in."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import jax
import jax.numpy as jnp
import optax

from funcsgd import AddMomentumState, AverageState, ScaleByLearningRateState, WithAverageState, with_average
from funcsgd.schedules import Schedule, per_epoch, tabulate
from funcsgd.schedules.one_cycle import OneCycleLR
from torch_bridge.translate.lr_scheduler import advanced, epochs_done, schedules_from_torch
from torch_bridge.translate.optim import Translated, parameter_names, sgd_from_torch
from torch_bridge.translate.states import momentum_buffers, nodes_of
from torch_bridge.translate.swa_utils import TranslatedAverage, average_from_torch, average_to_torch
from torch_bridge.translate.tensors import to_tensor

if TYPE_CHECKING:
    import torch
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.swa_utils import AveragedModel


class TorchState(NamedTuple):
    """What `to_torch` makes: state_dicts, each for the ``load_state_dict`` of the object it is named after.

    Attributes:
        model: torch name -> tensor; the parameters only, so load it with ``strict=False`` where there are buffers.
        optimizer: of the optimizer.
        scheduler: of the scheduler; None without one.
        average: of the AveragedModel; None where the state has no average.
    """

    model: dict[str, "torch.Tensor"]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any] | None
    average: dict[str, "torch.Tensor"] | None


@overload
def from_torch(
    optimizer: "torch.optim.Optimizer",
    scheduler: "LRScheduler | None" = None,
    average: "AveragedModel | None" = None,
    *,
    named_parameters: Iterable[tuple[str, "torch.Tensor"]] | None = None,
    steps_per_epoch: int = 1,
    epochs: int = 1000,
    steps_done: int | None = None,
) -> Translated: ...
@overload
def from_torch(optimizer: "LRScheduler") -> list[Schedule]: ...
@overload
def from_torch(optimizer: "AveragedModel") -> TranslatedAverage: ...
def from_torch(
    optimizer: "torch.optim.Optimizer | LRScheduler | AveragedModel",
    scheduler: "LRScheduler | None" = None,
    average: "AveragedModel | None" = None,
    *,
    named_parameters: Iterable[tuple[str, "torch.Tensor"]] | None = None,
    steps_per_epoch: int = 1,
    epochs: int = 1000,
    steps_done: int | None = None,
) -> Translated | list[Schedule] | TranslatedAverage:
    """Translate a torch recipe, in whatever state it is, into a funcsgd rule with parameters and state.

    Args:
        optimizer: a ``torch.optim.SGD``; groups with their own hyperparameters become an ``optax.partition``. A
            scheduler alone gives a list of schedules, one for each group, an ``AveragedModel`` alone its average.
        scheduler: any scheduler of ``torch.optim.lr_scheduler`` but ReduceLROnPlateau, nested ones too, and SWALR.
        average: an ``AveragedModel`` that is updated after each ``optimizer.step()``; see `average_from_torch`.
        named_parameters: ``model.named_parameters()``, unless the optimizer was made with names. Without either, the
            parameters are called "0", "1", ...
        steps_per_epoch: how many ``optimizer.step()`` lie between two ``scheduler.step()``; 1 if it is stepped in each.
        epochs: how many ``scheduler.step()`` the run makes, from its beginning; the learning rate rests afterwards.
        steps_done: how many ``optimizer.step()`` were made so far, which torch does not keep; None says that the run
            stands between two epochs.

    Returns:
        `Translated`: unpack it as ``tx, params, state``. Of a scheduler alone a list of `Schedule`, of an
        ``AveragedModel`` alone a `TranslatedAverage`.

    Raises:
        TypeError: the optimizer is not torch.optim.SGD, or the scheduler has no equivalent.
        ValueError: a parameter stands twice in one group, `funcsgd.sgd` refuses a hyperparameter, or the learning rate
            in force is not the scheduler's.

    Exactness: bitwise; a learning rate held in a tensor is taken at its value, as torch takes it.

    Differs from torch in: parameters with ``fused=True`` follow the for-loop implementation, which differs from fused
    in the last ``n % 8`` elements.
    """
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.swa_utils import AveragedModel

    if isinstance(optimizer, LRScheduler):
        return schedules_from_torch(optimizer)
    if isinstance(optimizer, AveragedModel):
        return average_from_torch(optimizer)
    made = _scheduled(optimizer, scheduler, named_parameters, steps_per_epoch, epochs, steps_done)
    if average is None:
        return made
    followed = average_from_torch(average)
    if set(followed.state.average) != set(made.params):
        raise ValueError(
            f"the average has {', '.join(followed.state.average)}, the optimizer {', '.join(made.params)}: pass "
            "named_parameters of the model, and average no parameter that is not trained"
        )
    state = WithAverageState(made.state, followed.state)
    return made._replace(tx=with_average(made.tx, followed.average), state=state)


def _scheduled(
    optimizer: "torch.optim.Optimizer",
    scheduler: "LRScheduler | None",
    named_parameters: Iterable[tuple[str, "torch.Tensor"]] | None,
    steps_per_epoch: int,
    epochs: int,
    steps_done: int | None,
) -> Translated:
    if scheduler is None:
        return sgd_from_torch(optimizer, named_parameters)
    overrides = [_hyperparameters(s, steps_per_epoch, epochs) for s in schedules_from_torch(scheduler)]
    made = sgd_from_torch(optimizer, named_parameters, overrides)
    done = epochs_done(scheduler) * steps_per_epoch if steps_done is None else steps_done
    if done // steps_per_epoch != epochs_done(scheduler):
        raise ValueError(
            f"after {done} steps, {steps_per_epoch} to an epoch, the scheduler should stand at epoch "
            f"{done // steps_per_epoch}, but it stands at {epochs_done(scheduler)}: check both numbers"
        )
    rates = [override["lr"](jnp.int32(done)) for override in overrides]
    return made._replace(state=_at_count(made.state, done, rates))


def _hyperparameters(schedule: Schedule, steps_per_epoch: int, epochs: int) -> dict[str, Any]:
    """The learning rate, and where the schedule cycles it the momentum, as functions of the number of updates."""
    n = min(epochs, schedule.total_steps + 1) if isinstance(schedule, OneCycleLR) else epochs
    found = {"lr": per_epoch(tabulate(schedule, n), steps_per_epoch)}
    if schedule.momentum is not None:
        found["momentum"] = per_epoch(tabulate(schedule.momentum, n), steps_per_epoch)
    return found


def _at_count(state: optax.OptState, count: int, rates: list[jax.Array]) -> optax.OptState:
    """The state with its counts set, as if that many updates had been made."""
    rate = iter(rates)

    def move(node: Any) -> Any:
        if isinstance(node, ScaleByLearningRateState):
            return node._replace(count=jnp.int32(count), learning_rate=next(rate))
        return node._replace(count=jnp.int32(count)) if isinstance(node, AddMomentumState) else node

    kinds = (ScaleByLearningRateState, AddMomentumState)
    return jax.tree.map(move, state, is_leaf=lambda node: isinstance(node, kinds))


def to_torch(
    params: Mapping[str, jax.Array],
    state: optax.OptState,
    optimizer: "torch.optim.Optimizer",
    scheduler: "LRScheduler | None" = None,
    *,
    named_parameters: Iterable[tuple[str, "torch.Tensor"]] | None = None,
    steps_per_epoch: int = 1,
) -> TorchState:
    """Return the state of a JAX run as state_dicts for torch; the inverse of `from_torch`.

    Args:
        params: torch name -> array, as `from_torch` lays them out.
        state: the state of `from_torch`'s rule.
        optimizer: the torch.optim.SGD to load the result into, at or before the place where the JAX run stands. It
            gives names and hyperparameters and is left as it is.
        scheduler: its scheduler, likewise.
        named_parameters: as in `from_torch`.
        steps_per_epoch: as in `from_torch`.

    Returns:
        `TorchState`.

    Raises:
        KeyError: the optimizer has a parameter that ``params`` lacks.
        ValueError: the scheduler is further than the JAX run.

    Exactness: bitwise: torch goes on with the bits with which it would have gone on.
    """
    names = parameter_names(optimizer, named_parameters)
    flat = [name for row in names for name in row]
    found = momentum_buffers(state, params)
    buffers, started = found if found is not None else ({}, {})
    made: dict[str, Any] = optimizer.state_dict()
    made["state"] = {
        index: {"momentum_buffer": to_tensor(buffers[name])}
        for index, name in enumerate(flat)
        if buffers.get(name) is not None and bool(started[name])
    }
    scheduled = None
    if scheduler is not None:
        updates = max(int(node.count) for node in nodes_of(state, ScaleByLearningRateState))
        moved, groups = advanced(scheduler, updates // steps_per_epoch)
        scheduled = moved.state_dict()
        for group, now in zip(made["param_groups"], groups, strict=True):
            group.update({key: value for key, value in now.items() if key != "params"})
    averages = nodes_of(state, AverageState)
    averaged = average_to_torch(averages[0]) if averages else None
    return TorchState({name: to_tensor(params[name]) for name in flat}, made, scheduled, averaged)
