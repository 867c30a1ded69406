"""The description of one of torch's optimizers: its numbers, its state, its rule in JAX."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import optax

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Number:
    """A hyperparameter that is a number, one for each parameter group, and may change from step to step.

    Attributes:
        quantity: its name in a trace, such as ``"learning_rate"``.
        option: torch's name, the key in a parameter group, such as ``"lr"``.
        index: which element of that option, where it is a tuple such as ``betas``.
        shows_in: the first quantity of a step that a wrong value changes.
        optax: what ``optax.inject_hyperparams`` calls it in its state, if it can be found there.
        scheduled: the rule takes a schedule for it.
        fitted: a difference between two rules may be put down to it.
    """

    quantity: str
    option: str
    index: int | None = None
    shows_in: str = "parameter"
    optax: tuple[str, ...] = ()
    scheduled: bool = True
    fitted: bool = True

    @property
    def label(self) -> str:
        """Torch's name for it, such as ``"lr"`` or ``"betas[0]"``."""
        return self.option if self.index is None else f"{self.option}[{self.index}]"

    def of(self, options: Mapping[str, Any]) -> Any:
        """Return its value in a parameter group."""
        value = options[self.option]
        return value if self.index is None else value[self.index]


def with_numbers(options: Mapping[str, Any], values: Mapping[Number, Any]) -> dict[str, Any]:
    """Return the options of a group with some of its numbers replaced, by numbers or by schedules."""
    replaced = dict(options)
    for number, value in values.items():
        if number.index is None:
            replaced[number.option] = value
        else:
            old = tuple(replaced[number.option])
            replaced[number.option] = (*old[: number.index], value, *old[number.index + 1 :])
    return replaced


@dataclass(frozen=True)
class Nearest:
    """The rule in plain optax that is nearest to a torch optimizer's.

    Attributes:
        before: source of the stages in front of it, such as coupled weight decay.
        rule: source of the rule itself.
        differences: how it differs from torch's, a sentence each.
    """

    before: tuple[str, ...]
    rule: str
    differences: tuple[str, ...]


def nothing_shown(
    group: Mapping[str, Any], parameter: "torch.Tensor", gradient: "torch.Tensor"
) -> "dict[str, torch.Tensor]":
    """The default of `Adapter.shown`."""
    del group, parameter, gradient
    return {}


@dataclass(frozen=True)
class Adapter:
    """One of torch's optimizers.

    Attributes:
        torch_class: its class by module and name, such as ``"torch.optim.sgd.SGD"``.
        numbers: the hyperparameters that are numbers, the learning rate among them.
        flags: the hyperparameters that choose a form of the rule; what chooses an implementation is left out.
        state: the keys under which ``optimizer.state`` holds a tensor for each parameter.
        scalars: those of them that are one number for each parameter.
        quantities: what a step of it computes, and the numbers that it does this with, in causal order: the quantities
            of `numbers` and `state`, and those that `shown` and the rule show.
        rule: the rule in JAX, which takes the learning rate and then torch's options by name; None for an optimizer
            that is only recorded.
        shown: what the optimizer is about to compute of a gradient without keeping it, by quantity: from a parameter
            group, a parameter and its gradient.
        nearest: the plain optax code that a port from memory would have: from options, in which a string is source
            of a scheduled one. None where there is nothing of the kind.
        optax_fields: fields of optax's states that hold what a key of `state` does: ``{"trace": "momentum_buffer"}``.
        takes_root: the rule takes torch's square root, see `torch_bridge.torch_root`.
        in_double: torch calculates with its numbers in Python's floats before they are combined with an array, so that
            one in a tensor of a narrower dtype makes it another arithmetic, which the rule does not have.
        fixed: options of torch's that have one value in this arithmetic, and make another of it otherwise.
        otherwise: the class that has the arithmetic of the other values; the adapter of that one is taken where every
            group has them.
    """

    torch_class: str
    numbers: tuple[Number, ...]
    flags: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ("step",)
    quantities: tuple[str, ...] = ()
    rule: Callable[..., optax.GradientTransformationExtraArgs] | None = None
    shown: "Callable[[Mapping[str, Any], torch.Tensor, torch.Tensor], dict[str, torch.Tensor]]" = nothing_shown
    nearest: Callable[[Mapping[str, Any]], Nearest] | None = None
    optax_fields: Mapping[str, str] = field(default_factory=dict)
    takes_root: bool = False
    in_double: bool = False
    fixed: Mapping[str, bool] = field(default_factory=dict)
    otherwise: str = ""

    @property
    def name(self) -> str:
        """The class without its module."""
        return self.torch_class.rpartition(".")[2]

    def narrow(self, group: Mapping[str, Any]) -> str:
        """Say what in a group makes another arithmetic of the rule, see `in_double` and `fixed`; empty if nothing."""
        for option, value in self.fixed.items():
            if self.differs(group):
                return (
                    f"{option} is {not value} in one parameter group and {value} in another, or was changed since: the "
                    "groups of an optimizer follow one rule here, so give the two kinds an optimizer each"
                )
        for number in self.numbers if self.in_double else ():
            dtype = str(getattr(number.of(group) if number.option in group else None, "dtype", "torch.float64"))
            if dtype != "torch.float64":
                return (
                    f"{number.label} is a tensor of {dtype.removeprefix('torch.')}, in which {self.name} then "
                    "calculates its step size, where the rule here has float64, as torch has with a number: use a "
                    "number or a float64 tensor"
                )
        return ""

    def differs(self, group: Mapping[str, Any]) -> bool:
        """Return whether a group has an option at another value than this arithmetic, see `fixed`."""
        return any(bool(group.get(option, value)) != value for option, value in self.fixed.items())

    def options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of a torch parameter group that enter the arithmetic, as plain numbers."""
        found: dict[str, Any] = {}
        for number in self.numbers:
            if number.option in group:
                value = group[number.option]
                found[number.option] = float(value) if number.index is None else tuple(map(float, value))
        return found | {flag: bool(group[flag]) for flag in self.flags if flag in group}


def learning_rate_of(adapter: Adapter) -> Number:
    """Return the number that torch calls ``lr``.

    Raises:
        ValueError: the optimizer has none.
    """
    for number in adapter.numbers:
        if number.option == "lr":
            return number
    raise ValueError(f"{adapter.torch_class} has no learning rate in its parameter groups: nothing can be scheduled")


def momentum_of(adapter: Adapter) -> Number | None:
    """Return the number that torch's schedulers with ``cycle_momentum`` set: momentum, or the first of the betas."""
    return next((number for number in adapter.numbers if number.label in ("momentum", "betas[0]")), None)
