"""Data and random draws: the order of batches, the number and type of examples, seeds."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from torch_bridge import random
from torch_bridge.judge.numbers import other_batches
from torch_bridge.judge.preflight.finding import Draw, Finding
from torch_bridge.judge.preflight.side import Sides
from torch_bridge.replaying.batches import indices_of
from torch_bridge.trace.digest import digest

_ARRIVAL = "in_order=False"


def input_findings(sides: Sides) -> Iterator[Finding]:
    """Name what is different about the batches: their order, their number of examples, their types."""
    yield from _order(sides)
    yield from _arrays(sides)
    for sentence in sides.trace.static.get("not_recorded", ()):
        if _ARRIVAL in sentence:
            yield Finding(
                "in_order",
                "torch's loader had in_order=False: its batches came in the order of arrival, and no seed gives them "
                "again.",
                "Record with in_order=True, or log the indices of each batch, recorder.log(indices=...).",
                _ARRIVAL,
                "batches in order",
            )
    yield from _seed(sides)


def draws_of(sides: Sides) -> tuple[Draw, ...]:
    """Return the random draws of both sides as far as they are known."""
    static = sides.trace.static
    settings = static.get("settings", {})
    seeds = [str(seed) for seed in static.get("seeds", ())] or [str(seed) for seed in settings.get("seeds", ())]
    state = settings.get("generator", "")
    mine = random.default_generator
    rows = [
        Draw("seed of the default generator", ", ".join(seeds), str(mine.initial_seed()) if _was_used() else ""),
        Draw(
            "state of the default generator (digest)",
            state,
            _digest(mine.get_state()) if _was_used() else "",
        ),
    ]
    if "data" in sides.trace.steps:
        given = "given, order=" if sides.order is not None else "torch's own, from the trace"
        rows.append(Draw("order of the batches", "recorded at each step", given))
    return tuple(row for row in rows if row.torch or row.jax)


def _order(sides: Sides) -> Iterator[Finding]:
    for difference in other_batches(sides.trace, sides.order or ()):
        yield Finding(
            "batch order",
            f"Batch {difference.step} (from 0) of the port has example {difference.jax:.0f} at place "
            f"{difference.index[0]}, where torch's has {difference.torch:.0f}.",
            "Draw the order as torch does, with torch_bridge.random.manual_seed and torch_bridge.data.DataLoader, "
            "after the same draws of initial weights.",
            f"{difference.torch:.0f}",
            f"{difference.jax:.0f}",
        )


def _arrays(sides: Sides) -> Iterator[Finding]:
    if sides.data is None or callable(sides.data):
        return
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(sides.data)]
    n = min((len(array) for array in arrays if array.ndim), default=0)
    first = sides.trace.value("data", 0) if "data" in sides.trace.steps else None
    seen = [indices_of({"data": rows}) for rows in _recorded(sides)] if first is not None else []
    largest = max((int(rows.max(initial=-1)) for rows in seen if rows is not None), default=-1)
    if largest >= n:
        yield Finding(
            "number of examples",
            f"torch drew example {largest}, and data= holds {n}.",
            "Give the port the training set that torch's loader had.",
            f"at least {largest + 1}",
            str(n),
        )
    dtypes = set(sides.trace.static.get("dtypes", {}).values())
    if "float32" not in dtypes:
        return
    x64 = bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]
    for array in arrays:
        dtype = array.dtype
        if not jax.numpy.issubdtype(dtype, np.floating):
            continue
        if dtype.itemsize < 4 or (dtype.itemsize > 4 and x64):
            yield Finding(
                "data type",
                f"data= holds {dtype} of shape {array.shape}, and torch's parameters are float32.",
                "Convert it as the script's dataset does, most likely by array.astype(np.float32).",
                "float32",
                str(dtype),
            )


def _recorded(sides: Sides) -> Iterator[Any]:
    for t in range(sides.trace.n_steps):
        rows = sides.trace.value("data", t)
        if rows is not None:
            yield rows


def _seed(sides: Sides) -> Iterator[Finding]:
    seeds = sides.trace.static.get("seeds") or ()
    settings = sides.trace.static.get("settings", {})
    known = [int(seed) for seed in seeds] or [int(seed) for seed in settings.get("seeds", ())]
    mine = random.default_generator.initial_seed()
    if known and _was_used() and mine not in known:
        yield Finding(
            "seed",
            f"torch was seeded with {', '.join(map(str, known))}, and torch_bridge.random with {mine}.",
            f"Call torch_bridge.random.manual_seed({known[0]}) where the script calls torch.manual_seed.",
            ", ".join(map(str, known)),
            str(mine),
        )


def _was_used() -> bool:
    """Whether anything was drawn from the default generator of torch_bridge.random, or it was seeded."""
    return repr(random.default_generator) != repr(random.Generator())


def _digest(state: Any) -> str:
    return "".join(f"{int(word):016x}" for word in digest(np.asarray(state)))
