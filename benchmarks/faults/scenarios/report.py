"""A public report, and the port that is rebuilt from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.faults.port import Place, Port
from benchmarks.faults.recipe import Recipe
from benchmarks.faults.singles import right


@dataclass(frozen=True)
class Scenario:
    """What somebody reported, on a small run of our own.

    Attributes:
        title: the report's.
        address: of the report.
        recipe: the run.
        changed: what the port's arguments have in place of the right port's.
        causes: the entries that are to be named.
        step: the first step that shows it.
        phases: the quantities of which one is the first to show it.
        names: the layers or parameters, ``""`` for the loss.
    """

    title: str
    address: str
    recipe: Callable[[], Recipe]
    changed: Callable[[Recipe], dict[str, Any]]
    causes: tuple[str, ...]
    step: int
    phases: tuple[str, ...]
    names: Callable[[Recipe], frozenset[str]]

    def port(self) -> Port:
        """The port."""
        recipe = self.recipe()
        names = self.names(recipe)
        place = Place(self.step, dict.fromkeys(self.phases, names), groups=frozenset({"0", "1"}))
        source = "/".join(self.address.rsplit("/", 4)[1:])
        return Port(
            source, (self.title,), self.causes, (place,) * len(self.causes), lambda: recipe.trace,
            lambda: right(recipe, **self.changed(recipe)), "scenario",
        )  # fmt: skip


def leaves(which: str) -> Callable[[Recipe], frozenset[str]]:
    """Parameters; see `Recipe.leaves`."""
    return lambda recipe: recipe.leaves(which)


def named(*names: str) -> Callable[[Recipe], frozenset[str]]:
    """Layers, or buffers, by their names."""
    return lambda recipe: frozenset(names)
