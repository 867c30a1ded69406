"""Whether a recipe that was read from a file is one: its values become source, and must be no more than values."""

import inspect
from typing import Any

from funcsgd import averages
from torch_bridge.translate.clip_grad import clipping_call
from torch_bridge.translate.optimizers import adapter_named
from torch_bridge.translate.recipe import AverageCall, Clip, Group, Recipe, Root


def check_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe, if each of its values is of the kind that reading gives it.

    Raises:
        ValueError: one is not, with its place and what it should be.
    """
    _need(isinstance(recipe.optimizer, str), "optimizer", recipe.optimizer, "the name of a class")
    for index, group in enumerate(recipe.groups):
        _check_group(recipe.optimizer, group, f"groups[{index}]")
    if isinstance(recipe.clip, Clip):
        for key, value in clipping_call(recipe.clip.arguments, recipe.clip.order)[1].items():
            _need(key == "order" or _is_number(value), f"clip: {key}", value, "a number")
        _need(_are_names(recipe.clip.order), "clip: order", recipe.clip.order, "names of parameters")
    if isinstance(recipe.average, AverageCall):
        name, options = recipe.average.name, recipe.average.options
        _need(name in ("ema", "swa"), "average: name", name, "'ema' or 'swa'")
        known = inspect.signature(getattr(averages, name)).parameters
        for key, value in options.items():
            _need(
                key in known and (value is None or _is_number(value)), f"average: {key}", value, f"a number of {name}"
            )
        decay = options.get("decay")
        _need(name != "ema" or _is_number(decay), "average: decay", decay, "a number")
    steps = recipe.steps_per_epoch
    _need(type(steps) is int and steps > 0, "steps_per_epoch", steps, "a whole number from 1")
    _need(_are_names(recipe.frozen), "frozen", recipe.frozen, "names of parameters")
    _need(_are_names((*recipe.tied, *recipe.tied.values())), "tied", recipe.tied, "names of parameters")
    if isinstance(recipe.root, Root):
        _need(_are_names((recipe.root.name, recipe.root.digest)), "root", recipe.root, "a name and a digest")
    return recipe


def _check_group(optimizer: str, group: Group, where: str) -> None:
    _need(_are_names(group.names), f"{where}: names", group.names, "names of parameters")
    for key, value in group.options.items():
        _need(
            all(map(_is_number, value if isinstance(value, tuple) else (value,))), f"{where}: {key}", value, "a number"
        )
    adapter = adapter_named(optimizer)
    if adapter.rule is None:
        return
    for number in adapter.numbers:
        given = group.options.get(number.option)
        there = _is_number(given) if number.index is None else isinstance(given, tuple) and len(given) > number.index
        _need(there, f"{where}: {number.label}", given, "a number")
    for flag in adapter.flags:
        _need(isinstance(group.options.get(flag), bool), f"{where}: {flag}", group.options.get(flag), "True or False")


def _need(holds: bool, where: str, value: Any, what: str) -> None:
    if not holds:
        raise ValueError(f"this is no recipe: {where} is {value!r}, not {what}")


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float)


def _are_names(names: Any) -> bool:
    return all(isinstance(name, str) for name in names)
