"""torch's schedulers stepped ahead of the run, as copies: what the user holds stays as it is."""

import copy
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

StepSchedulers: TypeAlias = Callable[[int, list[Any]], Any]
"""What a script does at the end of an epoch: ``step_schedulers(epoch, schedulers)``, epochs from 0."""

FIXED = ("weight_decay", "dampening", "nesterov", "maximize")
"""Hyperparameters that a translation takes as numbers."""


class StandIn:
    """An optimizer that holds parameter groups and nothing to optimise; a scheduler steps it without a warning."""

    def __init__(self, param_groups: list[dict[str, Any]], defaults: dict[str, Any]) -> None:
        self.param_groups = param_groups
        self.defaults = defaults
        self._opt_called = True

    def step(self) -> None:
        """Do nothing."""

    step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]  # what a scheduler looks for before it warns


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
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the learning rates and momenta that schedulers will set, by stepping copies of them.

    Args:
        optimizer: theirs.
        schedulers: in the order of their steps, whatever state they are in.
        done: number of epochs so far.
        steps: how many steps to look ahead; fewer are made where torch raises.
        step_schedulers: what the script does at the end of an epoch; None steps each scheduler.

    Returns:
        Two float64 arrays of shape ``(steps + 1, groups)``; the first row is in force now.

    Raises:
        ValueError: the schedulers cannot be copied, cannot make their next step, change another hyperparameter, or
            set other learning rates when the same is done again.
    """
    with leaving_alone(optimizer, schedulers):
        found = _rows(optimizer, schedulers, done, steps, step_schedulers)
        if step_schedulers is not None or not all(_is_known(scheduler) for scheduler in schedulers):
            again = _rows(optimizer, schedulers, done, steps, step_schedulers)
            if not np.array_equal(found, again, equal_nan=True):
                raise ValueError(
                    f"{names_of(schedulers)}, stepped twice from the same state, set different learning rates: a "
                    "function in it counts its calls or draws random numbers, so no copy can run ahead of it"
                )
    return found[:, 0], found[:, 1]


def _rows(
    optimizer: "torch.optim.Optimizer",
    schedulers: Sequence[Any],
    done: int,
    steps: int,
    step_schedulers: StepSchedulers | None,
) -> npt.NDArray[np.float64]:
    copies, groups = copied(schedulers, optimizer)
    rows = [_row(groups)]
    fixed = [[group[name] for name in FIXED] for group in groups]
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
        if [[group[name] for name in FIXED] for group in groups] != fixed:
            raise ValueError(
                f"{names_of(schedulers)} changes one of {', '.join(FIXED)}, and only learning rate and momentum can "
                "be followed: set it by optax.inject_hyperparams"
            )
        rows.append(_row(groups))
    return np.array(rows, np.float64)


def has_ended(error: Exception) -> bool:
    """Return True for what OneCycleLR raises when its cycle is over."""
    return isinstance(error, ValueError) and str(error).startswith("Tried to step")


def cannot_step(schedulers: Sequence[Any], groups: Sequence[Any], error: Exception) -> str:
    """Say why schedulers cannot make their next step."""
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
        "with an argument, or not in this epoch, say so by step_schedulers"
    )


def _row(groups: Sequence[dict[str, Any]]) -> list[list[float]]:
    return [[float(group[key]) for group in groups] for key in ("lr", "momentum")]


def _is_known(scheduler: Any) -> bool:
    """Whether nothing in a scheduler was written by the user."""
    functions = (getattr(scheduler, "lr_lambdas", None), getattr(scheduler, "_scale_fn_custom", None))
    children = getattr(scheduler, "_schedulers", ())
    return is_torchs(scheduler) and not any(functions) and all(_is_known(child) for child in children)


def is_torchs(scheduler: Any) -> bool:
    """Return True for a class of ``torch.optim``."""
    return type(scheduler).__module__.startswith("torch.optim.")
