"""Two and three faults at once."""

import random
from collections.abc import Iterator
from typing import Any

from benchmarks.faults.port import Place, Port
from benchmarks.faults.recipe import Recipe
from benchmarks.faults.singles import of_examples, of_loss, of_rule, right
from tests.support.planted import examples, losses
from tests.support.planted.numbers import rule
from tests.support.planted.rules import of_recipe

PAIRS = 8
"""Of each recipe, so many."""
TRIPLES = 2


def several(recipe: Recipe) -> Iterator[Port]:
    """Yield pairs of a rule and a loss, of a rule and the examples, of two stages of a rule; and triples."""
    draw = random.Random(recipe.name)
    loss, gradient = _of_loss(recipe), _of_gradient(recipe)
    for i in range(PAIRS + TRIPLES):
        more = (i % 4, 1) if i < PAIRS else (0, 2)
        rules = _of_rule(recipe, draw, 2 if more[0] == 0 else 1)
        others = [draw.choice(list((loss if more[0] != 3 else gradient).items()))] * (i % 4 != 0 or i >= PAIRS)
        yield _together(recipe, rules, dict(others))


def _of_rule(recipe: Recipe, draw: random.Random, count: int) -> list[str]:
    """Names of faults in different stages."""
    rules, chosen, stages = of_recipe(recipe.numbers), list[str](), set[str]()
    rules = {name: planted for name, planted in rules.items() if of_rule(recipe, name, planted) is not None}
    while len(chosen) < count:
        name = draw.choice(list(rules))
        own = set(rules[name].replaces(recipe.numbers))
        if not own & stages:
            chosen, stages = [*chosen, name], stages | own
    return sorted(chosen, key=list(rules).index)


def _of_loss(recipe: Recipe) -> dict[str, Any]:
    return {name: ("loss", wrong) for name, wrong in losses.LOSS.items()} | {
        name: ("data", wrong) for name, wrong in examples.INPUTS.items()
    }


def _of_gradient(recipe: Recipe) -> dict[str, Any]:
    return {name: ("gradient", wrong) for name, wrong in losses.GRADIENT.items()}


def _together(recipe: Recipe, rules: list[str], others: dict[str, Any]) -> Port:
    planted, n = of_recipe(recipe.numbers), recipe.numbers
    ports = [port for name in rules if (port := of_rule(recipe, name, planted[name])) is not None]
    for name, (kind, wrong) in others.items():
        if kind == "data":
            ports.append(of_examples(recipe, name, wrong, Place(0, {"forward": frozenset({recipe.layers[0]})})))
        else:
            ports.append(of_loss(recipe, name, wrong, kind, "all" if kind == "gradient" else ""))
    replaced = {key: value for name in rules for key, value in planted[name].replaces(n).items()}

    def arguments() -> dict[str, Any]:
        own = [port.arguments() for port in ports[len(rules) :]]
        found = right(recipe)
        for each in own:
            found |= {key: each[key] for key in ("loss_fn", "data") if each[key] is not found[key]}
        return found | {"tx": rule(n, **replaced)}

    return Port(
        recipe.name, tuple(port.faults[0] for port in ports), tuple(port.causes[0] for port in ports),
        tuple(port.places[0] for port in ports), lambda: recipe.trace, arguments, "several",
    )  # fmt: skip
