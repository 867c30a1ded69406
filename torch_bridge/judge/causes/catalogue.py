"""The catalogue: every entry by its name."""

import difflib
from collections.abc import Mapping

from torch_bridge.judge.causes import (
    activation,
    attention,
    average,
    axes,
    batch,
    clip,
    convolution,
    criterion,
    decay,
    environment,
    factor,
    first_state,
    function,
    linear,
    moments,
    momentum,
    narrow_rule,
    normalisation,
    order,
    other_number,
    outcome,
    pooling,
    schedule,
    softmax,
    squares,
    statistics,
)
from torch_bridge.judge.causes.entry import Entry

REWRITES = (softmax, attention, normalisation, convolution, pooling, axes, criterion, activation, linear, factor)
"""The modules of entries inside the loss function, each a replacement of values in its program."""

FAMILIES = (
    *(order, batch, function, *REWRITES, outcome, statistics),
    *(clip, decay, momentum, moments, squares, other_number, first_state, schedule, average, narrow_rule, environment),
)
"""The modules of entries, in the causal order of a training step."""

CATALOGUE: Mapping[str, Entry] = {entry.name: entry for family in FAMILIES for entry in family.ENTRIES}
"""Every entry by its name, family by family."""


def entry_named(name: str) -> Entry:
    """Return an entry.

    Raises:
        ValueError: there is none of this name; the message has those that are nearest.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    near = difflib.get_close_matches(name, CATALOGUE, n=3, cutoff=0.4)
    raise ValueError(f"there is no cause {name!r}" + (f": did you mean {', '.join(near)}?" if near else ""))
