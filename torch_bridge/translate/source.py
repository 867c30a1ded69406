"""Python source for the calls that make a recipe in funcsgd."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import funcsgd
from funcsgd.schedules import ReduceLROnPlateau, Schedule
from torch_bridge.translate.lr_scheduler import Turns, chained, has_plateau, table_length
from torch_bridge.translate.optimizers import Adapter, Number, learning_rate_of, momentum_of, rule_of
from torch_bridge.translate.schedule_data import scheduler_call


class Code(str):
    """Source that is written as it is."""

    def __repr__(self) -> str:
        return str(self)


class Source:
    """Writes schedulers as calls, and gathers what the calls need.

    Attributes:
        functions: the functions of the recipe by the names that the source gives them.
        definitions: the lines that define learning rates and momenta.
    """

    def __init__(self) -> None:
        self.functions: dict[str, Callable[..., Any]] = {}
        self.definitions: list[str] = []
        self._names: set[str] = set()
        self._others: dict[str, str] = {}  # a function -> its module

    def imports(self) -> list[str]:
        """Return the line that imports what `scheduler` and `hyperparameters` use."""
        ours = [f"from funcsgd.schedules import {', '.join(sorted(self._names))}"] if self._names else []
        return ours + [f"from {module} import {name}" for name, module in self._others.items()]

    def rule(self, adapter: Adapter, options: Mapping[str, Any]) -> str:
        """Return the call that makes an optimizer's rule, with torch's options."""
        rule, options = rule_of(adapter), dict(options)
        module = "funcsgd." if getattr(funcsgd, rule.__name__, None) is rule else ""
        if not module:
            self._others[rule.__name__] = rule.__module__
        return call(rule, [repr(options.pop("lr"))], options, module)

    def hyperparameters(
        self, turns: Turns, adapter: Adapter, suffix: str, steps_per_epoch: int, epochs: int
    ) -> dict[Number, Code]:
        """Define what schedulers set, as `torch_bridge.translate.scheduled` builds it; return the names."""
        found: dict[Number, Code] = {}
        if not turns:
            return found
        rate, second = learning_rate_of(adapter), momentum_of(adapter)
        schedule = chained(turns)
        n = epochs if schedule is None else table_length(schedule, epochs)
        if has_plateau(turns):
            listed = "".join(f"\n    {self.scheduler(scheduler)}," for scheduler in turns)
            found[rate] = self._define(
                f"learning_rate{suffix}", f"funcsgd.scale_by_schedulers([{listed}\n], {n}, {steps_per_epoch})"
            )
        elif schedule is not None:
            found[rate] = self._define(
                f"learning_rate{suffix}", self._tabulated(self.scheduler(schedule), n, steps_per_epoch)
            )
        if schedule is not None and schedule.momentum is not None and second is not None:
            momentum = f"{self.scheduler(schedule)}.momentum"
            found[second] = self._define(f"momentum{suffix}", self._tabulated(momentum, n, steps_per_epoch))
        return found

    def scheduler(self, scheduler: Schedule | ReduceLROnPlateau) -> str:
        """Return the call that makes a scheduler."""
        name, options = scheduler_call(scheduler)
        self._names.add(name)
        return call(getattr(funcsgd.schedules, name), [], {key: self._value(value) for key, value in options.items()})

    def function(self, function: Callable[..., Any]) -> str:
        """Return the name that a function of the recipe gets, one for each function."""
        for name, known in self.functions.items():
            if known is function:
                return name
        name = f"function_{len(self.functions)}"
        self.functions[name] = function
        return name

    def _define(self, name: str, source: str) -> Code:
        self.definitions.append(f"{name} = {source}")
        return Code(name)

    def _tabulated(self, source: str, n: int, steps_per_epoch: int) -> str:
        self._names |= {"per_epoch", "tabulate"}
        return f"per_epoch(tabulate({source}, {n}), {steps_per_epoch})"

    def _value(self, value: Any) -> Any:
        if isinstance(value, Schedule):
            return Code(self.scheduler(value))
        if isinstance(value, list | tuple):
            return Code(f"[{', '.join(repr(self._value(item)) for item in value)}]")
        return Code(self.function(value)) if callable(value) else value


def call(function: Callable[..., Any], arguments: list[str], options: Mapping[str, Any], module: str = "") -> str:
    """Return the source of a call, without the options that are defaults.

    Args:
        function: what is called.
        arguments: source of the positional arguments.
        options: values, or `Code`, of the arguments by keyword.
        module: what stands before the name, such as ``"funcsgd."``.
    """
    name, parameters = function.__name__, inspect.signature(function).parameters
    keywords = [
        f"{key}={value!r}"
        for key, value in options.items()
        if parameters[key].default is inspect.Parameter.empty or value != parameters[key].default
    ]
    return f"{module}{name}({', '.join([*arguments, *keywords])})"
