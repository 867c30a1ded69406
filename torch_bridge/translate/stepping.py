"""torch's schedulers stepped ahead of the run, as copies: what the user holds stays as it is."""

import copy
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from torch_bridge.translate.optimizers import Adapter, Number, adapter_of

if TYPE_CHECKING:
    import torch

StepSchedulers: TypeAlias = Callable[[int, list[Any]], Any]
"""A function for what a script does at the end of an epoch: ``step_schedulers(epoch, schedulers)``, epochs from 0."""


class StandIn:
    """An optimizer that holds parameter groups and nothing to optimise; a scheduler steps it without a warning."""

    def __init__(self, param_groups: list[dict[str, Any]], defaults: dict[str, Any]) -> None:
        self.param_groups = param_groups
        self.defaults = defaults
        self._opt_called = True

    def step(self) -> None:
        """Do nothing."""

    step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]  # the mark that a scheduler checks before it warns


def names_of(schedulers: Sequence[Any]) -> str:
    """Return the schedulers' classes for a message."""
    return " and ".join(type(scheduler).__name__ for scheduler in schedulers)


def copied(schedulers: Sequence[Any], optimizer: "torch.optim.Optimizer") -> tuple[list[Any], list[dict[str, Any]]]:
    """Return deep copies of schedulers, and the parameter groups of the stand-in that they set.

    Raises:
        ValueError: a class of the user's own holds what cannot be copied.
    """
    known: dict[int, Any] = {id(p): p for group in optimizer.param_groups for p in group["params"]}
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        own = {key: entry.clone() if hasattr(entry, "clone") else entry for key, entry in group.items()}
        known |= {id(entry): own[key] for key, entry in group.items() if entry is not own[key]}
        known[id(group)] = own
        groups.append(own)
    known |= {id(optimizer): StandIn(groups, optimizer.defaults), id(optimizer.param_groups): groups}
    try:
        return copy.deepcopy(list(schedulers), known), groups
    except Exception as error:  # whatever a user's class holds
        raise ValueError(
            f"{names_of(schedulers)} cannot be copied and stepped ahead ({type(error).__name__}: {error}): keep in it "
            "only numbers and functions, or give the optimizer alone and a schedule of your own"
        ) from error


@contextmanager
def leaving_alone(optimizer: "torch.optim.Optimizer", schedulers: Sequence[Any]) -> Iterator[None]:
    """Keep the random streams and the optimizer as they are, whatever copies of its schedulers do meanwhile.

    Raises:
        ValueError: a copy reached the optimizer itself, which gets its values back.
    """
    import torch

    before = [
        {key: entry.clone() if hasattr(entry, "clone") else entry for key, entry in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]
    streams = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002  # a user's class may use it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        random.setstate(streams[0])
        np.random.set_state(streams[1])  # noqa: NPY002
        torch.set_rng_state(streams[2])
        if _restored(optimizer, before):
            raise ValueError(
                f"a copy of {names_of(schedulers)} set the learning rate of the optimizer itself: let it reach the "
                "optimizer through an attribute, so that a copy can have another"
            )


def _restored(optimizer: "torch.optim.Optimizer", before: Sequence[dict[str, Any]]) -> bool:
    """Give parameter groups their values back; return True if one had changed."""
    changed = False
    for group, kept in zip(optimizer.param_groups, before, strict=True):
        for key, entry in kept.items():
            if group[key] is not entry and not bool(np.all(np.asarray(group[key] == entry))):
                changed = True
                group[key] = entry
    return changed


def look_ahead(
    optimizer: "torch.optim.Optimizer",
    schedulers: Sequence[Any],
    done: int,
    steps: int,
    step_schedulers: StepSchedulers | None = None,
    adapter: Adapter | None = None,
) -> dict[Number, npt.NDArray[np.float64]]:
    """Return the numbers that schedulers will set, learning rates and others, by stepping copies of them.

    Args:
        optimizer: theirs.
        schedulers: in the order of their steps, whatever state they are in.
        done: number of epochs so far.
        steps: how many steps to look ahead; fewer are made where torch raises.
        step_schedulers: what the script does at the end of an epoch; None steps each scheduler.
        adapter: of the optimizer; None takes it from the registry.

    Returns:
        For each of the optimizer's numbers float64 of shape ``(steps + 1, groups)``; the first row is in force now.

    Raises:
        ValueError: the schedulers cannot be copied, cannot make their next step, change a hyperparameter that the
            rule takes as it is, or set other learning rates when the same is done again.
    """
    adapter = adapter or adapter_of(optimizer)
    with leaving_alone(optimizer, schedulers):
        found = _rows(optimizer, schedulers, done, steps, step_schedulers, adapter)
        if step_schedulers is not None or not all(_is_known(scheduler) for scheduler in schedulers):
            again = _rows(optimizer, schedulers, done, steps, step_schedulers, adapter)
            if not np.array_equal(found, again, equal_nan=True):
                raise ValueError(
                    f"{names_of(schedulers)}, stepped twice from the same state, set different learning rates: a "
                    "function in it counts its calls or draws random numbers, so no copy can run ahead of it"
                )
    return {number: found[:, i] for i, number in enumerate(adapter.numbers)}


def _rows(
    optimizer: "torch.optim.Optimizer",
    schedulers: Sequence[Any],
    done: int,
    steps: int,
    step_schedulers: StepSchedulers | None,
    adapter: Adapter,
) -> npt.NDArray[np.float64]:
    copies, groups = copied(schedulers, optimizer)
    rows = [numbers_in(groups, adapter)]
    fixed = _fixed(groups, adapter)
    for epoch in range(done, done + steps):
        try:
            if step_schedulers is not None:
                step_schedulers(epoch, copies)
            else:
                for scheduler in copies:
                    scheduler.step()
        except Exception as error:  # torch's, or of a class of the user's own
            if epoch == done and not has_ended(error):
                raise ValueError(cannot_step(schedulers, groups, error)) from error
            break
        if (now := _fixed(groups, adapter)) != fixed:
            changed = sorted({key for was, is_ in zip(fixed, now, strict=True) for key in was if was[key] != is_[key]})
            followed = ", ".join(number.label for number in adapter.numbers if number.scheduled)
            raise ValueError(
                f"{names_of(schedulers)} changes {', '.join(changed)}, and only {followed} can be followed: set it by "
                "optax.inject_hyperparams"
            )
        rows.append(numbers_in(groups, adapter))
    return np.array(rows, np.float64)


def has_ended(error: Exception) -> bool:
    """Return True for what OneCycleLR raises when its cycle is over."""
    return isinstance(error, ValueError) and str(error).startswith("Tried to step")


def cannot_step(schedulers: Sequence[Any], groups: Sequence[Any], error: Exception) -> str:
    """Return a message why schedulers cannot make their next step."""
    for scheduler in schedulers:
        first = len(getattr(scheduler, "base_lrs", groups))
        if first < len(groups):
            return (
                f"{type(scheduler).__name__} was made when the optimizer had {first} parameter groups, and cannot set "
                f"group {first}, which was added later ({type(error).__name__}: {error}); torch raises too: make the "
                "scheduler after the last add_param_group"
            )
    return (
        f"{names_of(schedulers)} cannot make its next step ({type(error).__name__}: {error}): if the script steps it "
        "with an argument, or not in this epoch, describe that by step_schedulers"
    )


def numbers_in(groups: Sequence[dict[str, Any]], adapter: Adapter) -> list[list[float]]:
    """Return each of an optimizer's numbers in each parameter group."""
    return [[float(number.of(group)) for group in groups] for number in adapter.numbers]


def _fixed(groups: Sequence[dict[str, Any]], adapter: Adapter) -> list[dict[str, Any]]:
    """A value that a rule takes as it is for the whole run."""
    fixed = [number.option for number in adapter.numbers if not number.scheduled] + list(adapter.flags)
    return [{key: group[key] for key in fixed if key in group} for group in groups]


def _is_known(scheduler: Any) -> bool:
    """Whether nothing in a scheduler was written by the user."""
    functions = (getattr(scheduler, "lr_lambdas", None), getattr(scheduler, "_scale_fn_custom", None))
    children = getattr(scheduler, "_schedulers", ())
    return is_torchs(scheduler) and not any(functions) and all(_is_known(child) for child in children)


def is_torchs(scheduler: Any) -> bool:
    """Return True for a class of ``torch.optim``."""
    return type(scheduler).__module__.startswith("torch.optim.")
