"""Schedulers as plain data, and back."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import funcsgd
from funcsgd.schedules import ReduceLROnPlateau, Schedule
from torch_bridge.translate.recipe import Scheduler, Untranslated


class UnknownFunction:
    """A function of which a trace kept the first line: it can be printed, and its values are not known.

    Attributes:
        source: that line.
    """

    def __init__(self, source: str) -> None:
        self.source = next(iter(source.splitlines()), "")

    def __call__(self, *args: Any) -> float:
        """Return NaN: what the function gives was not recorded."""
        return math.nan

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnknownFunction) and other.source == self.source

    def __hash__(self) -> int:
        return hash(self.source)


def described(function: Callable[..., Any]) -> str:
    """Return the first line of a function's source, or what else is known of it."""
    if isinstance(function, UnknownFunction):
        return function.source
    try:
        return inspect.getsource(function).strip().splitlines()[0]
    except (OSError, TypeError):
        return " ".join(repr(function).split())


def scheduler_call(scheduler: Schedule | ReduceLROnPlateau) -> tuple[str, dict[str, Any]]:
    """Return the name of a scheduler's class in ``funcsgd.schedules``, and its arguments."""
    parameters = inspect.signature(type(scheduler)).parameters
    return type(scheduler).__name__, {key: getattr(scheduler, key, None) for key in parameters}


def scheduler_to_data(scheduler: Scheduler) -> dict[str, Any]:
    """Return a scheduler as data fit for JSON; functions become their first line."""
    if isinstance(scheduler, Untranslated):
        return {"untranslated": scheduler.name, "reason": scheduler.reason, "refusal": scheduler.refusal}
    name, options = scheduler_call(scheduler)
    return {"name": name, **{key: _plain(option) for key, option in options.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule | ReduceLROnPlateau | Untranslated):
        return scheduler_to_data(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if callable(value):
        return {"function": described(value)}
    return value.item() if hasattr(value, "item") else value


def scheduler_from_data(data: Mapping[str, Any]) -> Scheduler:
    """Return what `scheduler_to_data` wrote.

    Raises:
        ValueError: there is no such scheduler.
    """
    if "untranslated" in data:
        return Untranslated(data["untranslated"], data["reason"], data["refusal"])
    options = {key: _made(value) for key, value in data.items() if key != "name"}
    make = getattr(funcsgd.schedules, data["name"], None)
    if not (isinstance(make, type) and issubclass(make, Schedule | ReduceLROnPlateau)):
        raise ValueError(f"no scheduler is called {data['name']!r}")
    made: Scheduler = make(**options)
    return made


def _made(value: Any) -> Any:
    if isinstance(value, dict):
        return _function(value["function"]) if "function" in value else scheduler_from_data(value)
    if isinstance(value, str) and not value.isidentifier():  # a mode's name; it becomes source
        raise ValueError(f"no scheduler has {value!r} for an argument")
    return [_made(each) for each in value] if isinstance(value, list) else value


def _function(source: Any) -> UnknownFunction:
    if not isinstance(source, str) or len(source.splitlines()) > 1:  # a comment would end with its line
        raise ValueError(f"a function is described by one line, not by {source!r}")
    return UnknownFunction(source)
