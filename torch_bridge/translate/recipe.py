"""A recipe as plain data: what a torch run trains with, read once, and complete for translation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from funcsgd.schedules import ReduceLROnPlateau, Schedule

VERSION = 1  # of the recipe's JSON form


@dataclass(frozen=True)
class Untranslated:
    """Something that has no equivalent here.

    Attributes:
        name: its class, or the function's name.
        reason: why, in a sentence.
        refusal: the class of the exception that building raises: ``"TypeError"`` or ``"ValueError"``.
    """

    name: str
    reason: str
    refusal: str = "TypeError"

    def error(self) -> Exception:
        """Return the exception to raise where the equivalent is needed."""
        return ValueError(self.reason) if self.refusal == "ValueError" else TypeError(self.reason)


Scheduler: TypeAlias = Schedule | ReduceLROnPlateau | Untranslated


@dataclass(frozen=True)
class Group:
    """A parameter group.

    Attributes:
        names: its parameters.
        options: torch's hyperparameters by torch's names, as plain numbers.
        schedulers: what sets its learning rate, in the order in which the script steps them.
    """

    names: tuple[str, ...]
    options: Mapping[str, Any]
    schedulers: tuple[Scheduler, ...] = ()


@dataclass(frozen=True)
class Clip:
    """Clipping of the gradients.

    Attributes:
        arguments: what the script gives ``clip_grad_norm_`` or ``clip_grad_value_`` beside the parameters.
        order: the parameters' names in the order in which it gives them.
    """

    arguments: Mapping[str, Any]
    order: tuple[str, ...]


@dataclass(frozen=True)
class AverageCall:
    """A moving average of the parameters.

    Attributes:
        name: the function of `funcsgd.averages` that makes it.
        options: its arguments.
    """

    name: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Root:
    """Which square root torch has on the machine of the run.

    Attributes:
        name: see `torch_bridge.torch_root`; ``"unknown"`` where it is none of the known kind.
        digest: of its corrections, hexadecimal; empty for a root that has none.
    """

    name: str
    digest: str = ""


@dataclass(frozen=True)
class Recipe:
    """The recipe of a run.

    Attributes:
        optimizer: its class by module and name.
        groups: the parameter groups.
        clip: None without clipping.
        average: None without an average.
        steps_per_epoch: how many ``optimizer.step()`` lie between two ``scheduler.step()``.
        frozen: names of the parameters that do not require a gradient.
        tied: other names of parameters that the model has under several: name -> the name in `groups`.
        root: torch's square root, where the optimizer's rule depends on it.
        arithmetic: what is known to make torch calculate otherwise than the rule.
    """

    optimizer: str
    groups: tuple[Group, ...]
    clip: Clip | Untranslated | None = None
    average: AverageCall | Untranslated | None = None
    steps_per_epoch: int = 1
    frozen: tuple[str, ...] = ()
    tied: Mapping[str, str] = field(default_factory=dict)
    root: Root | None = None
    arithmetic: Untranslated | None = None

    @property
    def untranslated(self) -> tuple[Untranslated, ...]:
        """All that has no equivalent, each once."""
        parts: list[Any] = [self.arithmetic, self.clip, self.average]
        parts += [scheduler for group in self.groups for scheduler in group.schedulers]
        return tuple(dict.fromkeys(part for part in parts if isinstance(part, Untranslated)))

    @property
    def labels(self) -> dict[str, int]:
        """The group of each parameter."""
        return {name: index for index, group in enumerate(self.groups) for name in group.names}
