"""Recipe -> rule, with numbers of its own for each step where they are known."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import optax

from funcsgd import averages
from funcsgd.arithmetic.square_root import SquareRoot, square_root
from torch_bridge.square_root import torch_root
from torch_bridge.translate.clip_grad import clipping_from_torch
from torch_bridge.translate.optimizers import Number, adapter_named, rule_of, with_numbers
from torch_bridge.translate.read import root_digest
from torch_bridge.translate.recipe import AverageCall, Clip, Recipe, Root, Untranslated


class Translated(NamedTuple):
    """The result of `torch_bridge.from_torch`.

    Attributes:
        tx: the optax transformation.
        params: torch name -> JAX array, the parameters as they stand.
        state: the state of ``tx`` for ``params``, what torch's optimizer holds included, ready for the next update.
    """

    tx: optax.GradientTransformationExtraArgs
    params: dict[str, jax.Array]
    state: optax.OptState


def build_rule(
    recipe: Recipe, overrides: Sequence[Mapping[Number, Any]] | None = None
) -> optax.GradientTransformationExtraArgs:
    """Return the rule of a recipe's optimizer, for parameters by torch's names.

    Args:
        recipe: its schedulers, clipping and average are left out.
        overrides: for each group, numbers to take in place of the group's own, such as schedules.

    Returns:
        The rule; with several groups, an ``optax.partition`` of one for each.

    Raises:
        TypeError: the optimizer has no rule.
        ValueError: the rule rejects a hyperparameter, torch calculated otherwise than one rule does, or the recorded
            square root is not available here.
    """
    rule = rule_of(adapter_named(recipe.optimizer))
    rules = {
        index: rule(options.pop("lr"), **options) for index, options in enumerate(build_options(recipe, overrides))
    }
    return rules[0] if len(rules) == 1 else optax.partition(rules, recipe.labels)


def build_options(recipe: Recipe, overrides: Sequence[Mapping[Number, Any]] | None = None) -> list[dict[str, Any]]:
    """Return what the rule of each group is called with, by torch's names; the arguments are those of `build_rule`."""
    if recipe.arithmetic is not None:
        raise recipe.arithmetic.error()
    root = {"sqrt": build_root(recipe.root)} if adapter_named(recipe.optimizer).takes_root else {}
    return [
        with_numbers(group.options, overrides[index] if overrides else {}) | root
        for index, group in enumerate(recipe.groups)
    ]


def build_root(root: Root | None) -> SquareRoot:
    """Return the square root that a recipe names.

    Raises:
        ValueError: it is known on the machine of the run alone.
    """
    if root is None or root.name in ("correct", "unknown"):
        return square_root("correct")
    if root.name == "mkl_avx512":
        return square_root(root.name)
    try:
        here = torch_root()
    except (ImportError, ValueError):
        here = None
    if here is None or root_digest(here) != root.digest:
        raise ValueError(
            f"the run's torch has a square root of its own ({root.name}, digest {root.digest}), whose values are known "
            "on a machine with the same torch and processor alone: replay the trace there, or give the rule with "
            'sqrt="correct", which differs from it by a unit in the last place here and there'
        )
    return here


def build_clip(clip: Clip | Untranslated) -> optax.GradientTransformationExtraArgs:
    """Return the stage that clips; raises what `clipping_call` raises."""
    if isinstance(clip, Untranslated):
        raise clip.error()
    return clipping_from_torch(clip.arguments, clip.order)


def build_average(average: AverageCall | Untranslated) -> averages.Average:
    """Return the average; raises what `average_from_torch` raises."""
    if isinstance(average, Untranslated):
        raise average.error()
    made: averages.Average = getattr(averages, average.name)(**average.options)
    return made
