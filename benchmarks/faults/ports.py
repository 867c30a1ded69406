"""The ports of the benchmark."""

from collections.abc import Iterator

from benchmarks.faults.clean import clean
from benchmarks.faults.port import Port
from benchmarks.faults.recipes import RECIPES
from benchmarks.faults.scenarios import scenarios
from benchmarks.faults.several import several
from benchmarks.faults.singles import singles, unknown


def ports(recipe: str = "", only: str = "", every: int = 1) -> Iterator[Port]:
    """Yield the ports of the benchmark, every n-th of each kind."""
    chosen = [each for name, each in RECIPES.items() if recipe in name]
    kinds = [
        *(make(each) for make in (singles, several, unknown, clean) for each in chosen),
        scenarios() if recipe in "scenarios" else iter(()),
    ]
    for kind in kinds:
        wanted = [port for port in kind if only in port.title]
        yield from wanted[::every]
