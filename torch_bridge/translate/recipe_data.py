"""A recipe as data fit for JSON, as a trace's header holds it, and back."""

from collections.abc import Mapping
from typing import Any

from torch_bridge.translate.recipe import VERSION, AverageCall, Clip, Group, Recipe, Root, Untranslated
from torch_bridge.translate.recipe_check import check_recipe
from torch_bridge.translate.schedule_data import scheduler_from_data, scheduler_to_data


def recipe_to_data(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as data fit for JSON; functions in it become their first line."""
    return {
        "version": VERSION,
        "optimizer": recipe.optimizer,
        "groups": [
            {
                "names": list(group.names),
                "options": {key: _listed(value) for key, value in group.options.items()},
                "schedulers": [scheduler_to_data(scheduler) for scheduler in group.schedulers],
            }
            for group in recipe.groups
        ],
        "clip": _part(recipe.clip),
        "average": _part(recipe.average),
        "steps_per_epoch": recipe.steps_per_epoch,
        "frozen": list(recipe.frozen),
        "tied": dict(recipe.tied),
        "arithmetic": _part(recipe.arithmetic),
        "root": None if recipe.root is None else {"name": recipe.root.name, "digest": recipe.root.digest},
    }


def recipe_from_data(data: Mapping[str, Any]) -> Recipe:
    """Return the recipe that `recipe_to_data` wrote.

    Raises:
        ValueError: it was written by a newer version, or is no recipe.
    """
    try:
        if data["version"] > VERSION:
            raise ValueError(
                f"the recipe has version {data['version']}, this torch_bridge reads up to {VERSION}: upgrade it"
            )
        clip, average = data["clip"], data["average"]
        recipe = Recipe(
            optimizer=data["optimizer"],
            groups=tuple(
                Group(
                    tuple(group["names"]),
                    {key: _tupled(value) for key, value in group["options"].items()},
                    tuple(map(scheduler_from_data, group["schedulers"])),
                )
                for group in data["groups"]
            ),
            clip=_untranslated(clip) or (None if clip is None else Clip(dict(clip["arguments"]), tuple(clip["order"]))),
            average=_untranslated(average)
            or (None if average is None else AverageCall(average["name"], dict(average["options"]))),
            steps_per_epoch=data["steps_per_epoch"],
            frozen=tuple(data["frozen"]),
            tied=dict(data["tied"]),
            arithmetic=_untranslated(data["arithmetic"]),
            root=None if data["root"] is None else Root(**data["root"]),
        )
        return check_recipe(recipe)
    except KeyError as error:
        raise ValueError(f"this is no recipe: it has no {error}") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"this is no recipe: {type(error).__name__}: {error}") from error


def recorded_recipe(header: Mapping[str, Any]) -> Recipe:
    """Return the recipe in the header of a recorded run, ``trace.static``.

    Raises:
        ValueError: the run was not recorded from an optimizer.
    """
    if "recipe" not in header:
        raise ValueError("the trace holds no recipe: it was not recorded from an optimizer of torch")
    return recipe_from_data(header["recipe"])


def _part(part: Clip | AverageCall | Untranslated | None) -> dict[str, Any] | None:
    if isinstance(part, Untranslated):
        return {"untranslated": part.name, "reason": part.reason, "refusal": part.refusal}
    if isinstance(part, Clip):
        return {"arguments": dict(part.arguments), "order": list(part.order)}
    return None if part is None else {"name": part.name, "options": dict(part.options)}


def _untranslated(data: Mapping[str, Any] | None) -> Untranslated | None:
    if data is None or "untranslated" not in data:
        return None
    return Untranslated(data["untranslated"], data["reason"], data["refusal"])


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
