"""Timing of several contenders on a machine that is never quite at rest."""

import statistics
import time
from collections.abc import Callable, Mapping


def alternating_medians(
    contenders: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 3
) -> dict[str, float]:
    """Return the median seconds of one call of each contender.

    Each round goes through the contenders, beginning one further than the round before, so that a slow minute falls on
    all of them alike. Each is called twice and timed the second time, so that it finds its own memory in the caches,
    as far as it fits, and not what its predecessor left there. A contender returns only when its work is done: block
    on JAX arrays inside it.

    Args:
        contenders: from a name to a function of no arguments.
        rounds: calls that are timed, for each contender.
        warmup: calls before that, not timed: compilation, first touch of memory.

    Returns:
        From name to seconds, in the order given.
    """
    names = list(contenders)
    for name in names:
        for _ in range(warmup):
            contenders[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for start in range(rounds):
        shift = start % len(names)
        for name in names[shift:] + names[:shift]:
            contenders[name]()
            before = time.perf_counter()
            contenders[name]()
            seconds[name].append(time.perf_counter() - before)
    return {name: statistics.median(seconds[name]) for name in names}
