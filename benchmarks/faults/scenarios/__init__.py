"""Ports rebuilt from public reports."""

from collections.abc import Iterator

from benchmarks.faults.port import Port


def scenarios() -> Iterator[Port]:
    """Yield them."""
    yield from ()
