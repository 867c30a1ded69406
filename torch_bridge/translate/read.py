"""A torch run's optimizer, schedulers, clipping and average -> Recipe."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from torch_bridge.square_root import UnknownRoot, torch_root
from torch_bridge.translate.clip_grad import clipping_call
from torch_bridge.translate.lr_scheduler import check_owner, has_plateau, schedules_from_torch, turns_from_torch
from torch_bridge.translate.optimizers import Adapter, adapter_of
from torch_bridge.translate.parameters import frozen_parameters, model_order, parameter_names
from torch_bridge.translate.recipe import AverageCall, Clip, Group, Recipe, Root, Scheduler, Untranslated
from torch_bridge.translate.scheduler_progress import as_list
from torch_bridge.translate.swa_utils import average_call

if TYPE_CHECKING:
    import torch
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.swa_utils import AveragedModel

Part = TypeVar("Part")


def read_recipe(
    optimizer: "torch.optim.Optimizer",
    scheduler: "LRScheduler | Sequence[LRScheduler] | None" = None,
    average: "AveragedModel | None" = None,
    *,
    clip: Mapping[str, Any] | None = None,
    named_parameters: Iterable[tuple[str, "torch.Tensor"]] | None = None,
    steps_per_epoch: int = 1,
    tied: Mapping[str, str] | None = None,
) -> Recipe:
    """Read what a torch run trains with; the run stays as it is.

    Args:
        optimizer: any torch optimizer.
        scheduler: what sets its learning rate: one, or several in the order of their steps.
        average: an ``AveragedModel`` that is updated after each ``optimizer.step()``.
        clip: the arguments of ``clip_grad_norm_`` or ``clip_grad_value_``.
        named_parameters: ``model.named_parameters()``, unless the optimizer was made with names.
        steps_per_epoch: how many ``optimizer.step()`` lie between two ``scheduler.step()``.
        tied: further names of parameters, see `Recipe`.

    Returns:
        A `Recipe`. What has no equivalent here is an `Untranslated` in it: reading raises for nothing that it cannot
        translate.
    """
    named, adapter = list(named_parameters or ()), adapter_of(optimizer)
    schedulers = as_list(scheduler)
    turns = read_schedulers(schedulers, optimizer)
    groups = tuple(
        Group(tuple(names), adapter.options(group), tuple(each))
        for names, group, each in zip(parameter_names(optimizer, named), optimizer.param_groups, turns, strict=True)
    )
    order = tuple(model_order(optimizer, named))
    return Recipe(
        optimizer=adapter.torch_class,
        groups=groups,
        clip=None if clip is None else read_clip(clip, order),
        average=None if average is None else read_average(average),
        steps_per_epoch=steps_per_epoch,
        frozen=tuple(frozen_parameters(optimizer, named)),
        tied=dict(tied or {}),
        root=read_root() if adapter.takes_root else None,
        arithmetic=next(
            (
                Untranslated(adapter.name, narrowed, "ValueError")
                for narrowed in map(adapter.narrow, optimizer.param_groups)
                if narrowed
            ),
            None,
        ),
    )


def read_groups(optimizer: "torch.optim.Optimizer", names: Sequence[Sequence[str]], adapter: Adapter) -> list[Group]:
    """Return the parameter groups as they are now, without their schedulers."""
    return [
        Group(tuple(row), adapter.options(group)) for row, group in zip(names, optimizer.param_groups, strict=False)
    ]


def read_root() -> Root:
    """Return which square root the installed torch has."""
    try:
        root = torch_root()
    except UnknownRoot:
        return Root("unknown")
    return Root(root.name, root_digest(root))


def root_digest(root: Any) -> str:
    """Return a digest of the corrections of a `funcsgd.SquareRoot`; empty if it has none."""
    return "" if root.words is None else hashlib.sha256(root.words.tobytes()).hexdigest()[:32]


def read_clip(clip: Mapping[str, Any], order: Sequence[str]) -> Clip | Untranslated:
    """Return the clipping that a script does by giving torch's functions these arguments."""

    def read() -> Clip:
        clipping_call(clip, order)  # which checks the arguments
        return Clip(dict(clip), tuple(order))

    return _kept("clip", read)


def read_average(average: "AveragedModel") -> AverageCall | Untranslated:
    """Return the kind of average that an AveragedModel is."""
    return _kept(type(average).__name__, lambda: AverageCall(*average_call(average)))


def read_schedulers(schedulers: "list[LRScheduler]", optimizer: "torch.optim.Optimizer") -> list[list[Scheduler]]:
    """Return for each parameter group the schedulers that set its learning rate, in the order of their steps."""
    if not schedulers:
        return [[] for _ in optimizer.param_groups]

    def read() -> list[list[Scheduler]]:
        check_owner(schedulers, optimizer)
        turns = turns_from_torch(schedulers)
        if not has_plateau(turns[0]):
            schedules_from_torch(schedulers)  # which proves that their formulas lead to where they stand, and on
        return [list(each) for each in turns]

    found = _kept(", ".join(type(each).__name__ for each in schedulers), read)
    return [[found] for _ in optimizer.param_groups] if isinstance(found, Untranslated) else found


def _kept(name: str, read: Callable[[], Part]) -> Part | Untranslated:
    """The result of reading, or an `Untranslated`."""
    try:
        return read()
    except ValueError as error:
        return Untranslated(name, str(error), "ValueError")
    except Exception as error:  # whatever a class of the user's own does
        return Untranslated(name, str(error), "TypeError")
