"""A torch run, in whatever state it is -> a funcsgd rule with parameters and state."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import jax
import optax

import funcsgd
from funcsgd import drop_gradients
from funcsgd.averages import WithAverageState, with_average
from funcsgd.schedules import Schedule
from torch_bridge.translate.build import Translated, build_clip, build_options
from torch_bridge.translate.lr_scheduler import schedules_from_torch
from torch_bridge.translate.optimizers import Number, adapter_of, rule_of
from torch_bridge.translate.read import read_recipe
from torch_bridge.translate.recipe import Recipe
from torch_bridge.translate.scheduled import moved, scheduled_numbers
from torch_bridge.translate.scheduler_progress import as_list
from torch_bridge.translate.states import with_torch_state
from torch_bridge.translate.stepping import StepSchedulers
from torch_bridge.translate.swa_utils import TranslatedAverage, average_from_torch
from torch_bridge.translate.tensors import to_numpy

if TYPE_CHECKING:
    import torch
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.swa_utils import AveragedModel


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
        optimizer: one of torch's that has a rule here, see `torch_bridge.translate.optimizers`; groups with their own
            hyperparameters become an ``optax.partition``. A scheduler alone gives a list of schedules, one for each
            group, an ``AveragedModel`` alone its average. Parameters that do not require a gradient stay as they are,
            whatever gradient JAX has for them.
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
        steps_done: how many ``optimizer.step()`` were made so far, which torch does not keep; None if the run stands
            between two epochs.
        step_schedulers: what the script does with its schedulers at the end of an epoch, if that is not to step each:
            a function of the epoch, from 0, and of the list of schedulers. torch's recipe for SWA is
            ``lambda epoch, schedulers: schedulers[epoch >= swa_start].step()``. For schedulers that are stepped after
            every batch, or some so and others once an epoch, give ``steps_per_epoch=1``: epochs are then steps.

    Returns:
        `Translated`: unpack it as ``tx, params, state``. Of a scheduler alone a list of `Schedule`, of an
        ``AveragedModel`` alone a `TranslatedAverage`.

    Raises:
        TypeError: the optimizer has no rule here, or a scheduler alone has no equivalent.
        ValueError: a parameter stands twice in one group, the rule rejects a hyperparameter, ``clip`` is of
            neither function, a parameter is wider than JAX's mode allows, ``epochs`` is less than were made, or copies
            of the schedulers cannot be stepped ahead: one cannot be copied, does not make its next step, draws random
            numbers or watches the learning rate.

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
    rule_of(adapter_of(optimizer))  # raises before anything else is read
    recipe = read_recipe(optimizer, None, average, clip=clip, named_parameters=named, steps_per_epoch=steps_per_epoch)
    if schedulers := as_list(scheduler):
        at = scheduled_numbers(optimizer, schedulers, steps_per_epoch, epochs, steps_done, step_schedulers)
        made = _optimizer(optimizer, recipe, at.overrides)
        state = moved(made.tx.init(made.params), optimizer, schedulers, at)
    else:
        made = _optimizer(optimizer, recipe)
        state = made.tx.init(made.params)
    made = made._replace(state=_with_state_of(optimizer, made, state, recipe))
    first: list[optax.GradientTransformation] = []
    if recipe.frozen:
        first.append(drop_gradients({name: name in recipe.frozen for name in made.params}))
    if recipe.clip is not None:
        first.append(build_clip(recipe.clip))
    if first:
        state = (*(stage.init(made.params) for stage in first), made.state)
        made = made._replace(tx=optax.chain(*first, made.tx), state=state)
    return made if average is None else _averaged(made, average)


def _optimizer(
    optimizer: "torch.optim.Optimizer",
    recipe: Recipe,
    overrides: Sequence[Mapping[Number, Any]] | None = None,
) -> Translated:
    """The rule and the parameters; without a state."""
    groups, every_options = [], build_options(recipe, overrides)
    for group, read, options in zip(optimizer.param_groups, recipe.groups, every_options, strict=True):
        if len({id(parameter) for parameter in group["params"]}) < len(read.names):
            raise ValueError("a parameter stands twice in one group: torch steps it twice, which has no equivalent")
        members = [(name, to_numpy(parameter)) for name, parameter in zip(read.names, group["params"], strict=True)]
        _check_width(members)
        groups.append({"params": members, **options})
    made = funcsgd.from_groups(rule_of(adapter_of(optimizer)), groups)
    return Translated(made.tx, made.params, ())


def _check_width(members: Sequence[tuple[str, Any]]) -> None:
    """JAX would narrow such parameters in silence."""
    for name, value in members:
        if jax.dtypes.canonicalize_dtype(value.dtype) != value.dtype:
            raise ValueError(
                f"parameter {name!r} is {value.dtype}, which JAX makes {jax.dtypes.canonicalize_dtype(value.dtype)} by "
                'default: set jax.config.update("jax_enable_x64", True) first'
            )


def _with_state_of(
    optimizer: "torch.optim.Optimizer",
    made: Translated,
    state: optax.OptState,
    recipe: Recipe,
) -> optax.OptState:
    """The state with what torch's optimizer holds for each parameter."""
    adapter = adapter_of(optimizer)
    values: dict[str, dict[str, Any]] = {key: dict.fromkeys(made.params) for key in adapter.state}
    for read, group in zip(recipe.groups, optimizer.param_groups, strict=True):
        for name, parameter in zip(read.names, group["params"], strict=True):
            for key, entry in optimizer.state.get(parameter, {}).items():
                if key in values and entry is not None:
                    values[key][name] = to_numpy(entry) if hasattr(entry, "detach") else entry
    return with_torch_state(state, made.params, adapter, values)


def _averaged(made: Translated, average: "AveragedModel") -> Translated:
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
