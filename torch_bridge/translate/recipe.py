"""A whole recipe, optimizer, scheduler and average, from torch to funcsgd and back, with the state it is in."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import jax
import numpy as np
import optax

from funcsgd import (
    AverageState,
    ScaleByLearningRateState,
    ScaleBySchedulersState,
    WithAverageState,
    freeze,
    with_average,
)
from funcsgd.schedules import Schedule
from torch_bridge.translate.clip_grad import clipping_from_torch
from torch_bridge.translate.lr_scheduler import schedules_from_torch
from torch_bridge.translate.optim import Translated, frozen_parameters, model_order, parameter_names, sgd_from_torch
from torch_bridge.translate.scheduled import scheduled_from_torch
from torch_bridge.translate.scheduler_progress import advanced, as_list, standing
from torch_bridge.translate.states import momentum_buffers, nodes_of
from torch_bridge.translate.stepping import StepSchedulers
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
        scheduler: of the scheduler; a list where a list was given, None without one.
        average: of the AveragedModel; None where the state has no average.
    """

    model: dict[str, "torch.Tensor"]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any] | list[dict[str, Any]] | None
    average: dict[str, "torch.Tensor"] | None


@overload
def from_torch(
    optimizer: "torch.optim.Optimizer",
    scheduler: "LRScheduler | Sequence[LRScheduler] | None" = None,
    average: "AveragedModel | None" = None,
    *,
    clip: Mapping[str, Any] | None = None,
    named_parameters: Iterable[tuple[str, "torch.Tensor"]] | None = None,
    steps_per_epoch: int = 1,
    epochs: int | None = None,
    steps_done: int | None = None,
    step_schedulers: StepSchedulers | None = None,
) -> Translated: ...
@overload
def from_torch(optimizer: "LRScheduler") -> list[Schedule]: ...
@overload
def from_torch(optimizer: "AveragedModel") -> TranslatedAverage: ...
def from_torch(
    optimizer: "torch.optim.Optimizer | LRScheduler | AveragedModel",
    scheduler: "LRScheduler | Sequence[LRScheduler] | None" = None,
    average: "AveragedModel | None" = None,
    *,
    clip: Mapping[str, Any] | None = None,
    named_parameters: Iterable[tuple[str, "torch.Tensor"]] | None = None,
    steps_per_epoch: int = 1,
    epochs: int | None = None,
    steps_done: int | None = None,
    step_schedulers: StepSchedulers | None = None,
) -> Translated | list[Schedule] | TranslatedAverage:
    """Translate a torch recipe, in whatever state it is, into a funcsgd rule with parameters and state.

    Args:
        optimizer: a ``torch.optim.SGD``; groups with their own hyperparameters become an ``optax.partition``. A
            scheduler alone gives a list of schedules, one for each group, an ``AveragedModel`` alone its average.
            Parameters that do not require a gradient rest, whatever gradient JAX has for them.
        scheduler: all that the script steps from here on: any scheduler of ``torch.optim.lr_scheduler``, nested ones
            too, SWALR, or a class of your own; or several, in the order in which the script steps them. Copies are
            stepped ahead, so whatever state they are in, and whatever learning rate is in force, the run goes on as it
            would in torch. ReduceLROnPlateau makes the rule's ``update`` need ``value``, the metric of
            the epoch before; see `funcsgd.scale_by_schedulers`.
        average: an ``AveragedModel`` that is updated after each ``optimizer.step()``; see `average_from_torch`.
        clip: what the script gives ``clip_grad_norm_`` beside the model's parameters, ``{"max_norm": 1.0}``, or
            ``clip_grad_value_``, ``{"clip_value": 0.5}``.
        named_parameters: ``model.named_parameters()``, unless the optimizer was made with names. Without either, the
            parameters are called "0", "1", ...
        steps_per_epoch: how many ``optimizer.step()`` lie between two ``scheduler.step()``; 1 if it is stepped in each.
        epochs: how many ``scheduler.step()`` the run makes, from its beginning. None looks 10,000 steps ahead, or as
            far as the scheduler's own numbers reach. What lies beyond, or before the present state, is not known: the
            learning rate there is NaN.
        steps_done: how many ``optimizer.step()`` were made so far, which torch does not keep; None says that the run
            stands between two epochs.
        step_schedulers: what the script does with its schedulers at the end of an epoch, if that is not to step each:
            a function of the epoch, from 0, and of the list of schedulers. torch's recipe for SWA is
            ``lambda epoch, schedulers: schedulers[epoch >= swa_start].step()``. For schedulers that are stepped after
            every batch, or some so and others once an epoch, give ``steps_per_epoch=1``: epochs are then steps.

    Returns:
        `Translated`: unpack it as ``tx, params, state``. Of a scheduler alone a list of `Schedule`, of an
        ``AveragedModel`` alone a `TranslatedAverage`.

    Raises:
        TypeError: the optimizer is not torch.optim.SGD, or a scheduler alone has no equivalent.
        ValueError: a parameter stands twice in one group, `funcsgd.sgd` refuses a hyperparameter, ``clip`` is of
            neither function, ``epochs`` is less than were made, or copies of the schedulers cannot be stepped ahead:
            one cannot be copied, does not make its next step, draws random numbers or watches the learning rate.

    Exactness: bitwise; a learning rate held in a tensor is taken at its value, as torch takes it, and a metric is the
    same number on both sides if it is a float32 or JAX's 64-bit mode is on.

    Differs from torch in: parameters with ``fused=True`` follow the for-loop implementation, which differs from fused
    in the last ``n % 8`` elements.
    """
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.swa_utils import AveragedModel

    if isinstance(optimizer, LRScheduler):
        return schedules_from_torch(optimizer)
    if isinstance(optimizer, AveragedModel):
        return average_from_torch(optimizer)
    named = list(named_parameters or ())
    schedulers = as_list(scheduler)
    if schedulers:
        made = scheduled_from_torch(optimizer, schedulers, named, steps_per_epoch, epochs, steps_done, step_schedulers)
    else:
        made = sgd_from_torch(optimizer, named)
    first: list[optax.GradientTransformation] = []
    if any(mask := frozen_parameters(optimizer, named)):
        first.append(freeze(mask))
    if clip is not None:
        first.append(clipping_from_torch(clip, model_order(optimizer, named)))
    if first:
        state = (*(stage.init(made.params) for stage in first), made.state)
        made = made._replace(tx=optax.chain(*first, made.tx), state=state)
    if average is None:
        return made
    followed = average_from_torch(average)
    if average.use_buffers and followed.state.buffers:
        raise ValueError(
            f"the average takes in buffers ({next(iter(followed.state.buffers))!r}, ...), which have no place among "
            "the parameters of an optimizer: translate it alone, from_torch(averaged_model), and call "
            "average.update(params, state, buffers) after each step"
        )
    followed = followed._replace(state=followed.state._replace(buffers=()))
    if set(followed.state.average) != set(made.params):
        raise ValueError(
            f"the average has {', '.join(followed.state.average)}, the optimizer {', '.join(made.params)}: pass "
            "named_parameters of the model, and average no parameter that is not trained"
        )
    return made._replace(tx=with_average(made.tx, followed.average), state=WithAverageState(made.state, followed.state))


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
        optimizer: the torch.optim.SGD to load the result into, at or before the place where the JAX run stands. It
            gives names and hyperparameters and is left as it is.
        scheduler: its scheduler or schedulers, likewise.
        named_parameters: as in `from_torch`.
        steps_per_epoch: as in `from_torch`.
        value: the metric of the latest epoch, for a ReduceLROnPlateau, if the run stands between two epochs: JAX looks
            at it in the next update, torch has to have looked by then.
        steps_done: how many ``optimizer.step()`` the torch side given has made; None asks its scheduler.
        step_schedulers: as in `from_torch`.

    Returns:
        `TorchState`.

    Raises:
        KeyError: the optimizer has a parameter that ``params`` lacks.
        ValueError: the scheduler is further than the JAX run, ``value`` is missing, or the scheduler, stepped to where
            the run stands, sets another learning rate than the run has.

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
    scheduled: Any = None
    if schedulers := as_list(scheduler):
        nodes = nodes_of(state, (ScaleByLearningRateState, ScaleBySchedulersState))
        watching = [node for node in nodes if isinstance(node, ScaleBySchedulersState)]
        epochs = max(int(node.count) for node in nodes) // steps_per_epoch
        done, _ = standing(schedulers, steps_per_epoch, steps_done, step_schedulers is not None)
        moved, groups = advanced(schedulers, done, epochs, watching, value, step_schedulers)
        if not watching:
            _check_rates(nodes, groups, epochs)
        scheduled = [copied.state_dict() for copied in moved]
        scheduled = scheduled if isinstance(scheduler, Sequence) else scheduled[0]
        for group, now in zip(made["param_groups"], groups, strict=True):
            group.update({key: entry for key, entry in now.items() if key != "params"})
    averages = nodes_of(state, AverageState)
    averaged = average_to_torch(averages[0]) if averages else None
    return TorchState({name: to_tensor(params[name]) for name in flat}, made, scheduled, averaged)


def _check_rates(nodes: Sequence[Any], groups: Sequence[Mapping[str, Any]], epochs: int) -> None:
    for index, (node, group) in enumerate(zip(nodes, groups, strict=True)):
        expected = np.asarray(float(group["lr"]), node.learning_rate.dtype)
        if not np.array_equal(expected, node.learning_rate, equal_nan=True):
            raise ValueError(
                f"the scheduler, stepped to epoch {epochs}, sets the learning rate of group {index} to "
                f"{float(expected)!r}, but the run has {float(node.learning_rate)!r}: give optimizer and scheduler as "
                "they were when from_torch was called"
            )
