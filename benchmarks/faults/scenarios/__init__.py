"""Ports rebuilt from public reports of ports that were not torch's: the facts are theirs, the code is ours."""

from collections.abc import Iterator

from benchmarks.faults.port import Port
from benchmarks.faults.scenarios import functions, optimizers, schedules

SCENARIOS = (*optimizers.SCENARIOS, *schedules.SCENARIOS, *functions.SCENARIOS)


def scenarios() -> Iterator[Port]:
    """Yield the ports."""
    for scenario in SCENARIOS:
        yield scenario.port()
