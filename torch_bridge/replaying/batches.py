"""The batches of a recorded run, from the port's data."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from torch_bridge.trace.batch import recorded_batch
from torch_bridge.trace.trace import Array, Step, Trace


def batches_of(data: Any, trace: Trace) -> Callable[[int, Array | None], Any]:
    """Return the function ``(step, indices) -> batch`` for what `replay` takes as ``data``."""
    if callable(data):
        return data  # type: ignore[no-any-return]

    def take(step: int, indices: Array | None) -> Any:
        if data is None and "batch" in trace.static:
            return recorded_batch(trace, step)
        if data is None:
            raise ValueError(
                "the drives 'resync' and 'free' need data=: arrays, or a function (step, indices) -> batch"
                + _unknown(trace)
            )
        if indices is None:
            raise ValueError(
                "the trace does not hold the examples of each step: record with loader=, or give data= as a function "
                f"(step, indices) -> batch{_unknown(trace)}"
            )
        return jax.tree.map(lambda array: np.asarray(array)[indices], data)

    return take


def _unknown(trace: Trace) -> str:
    known = trace.static.get("no_batches")
    return f" ({known})" if known else ""


def indices_of(recorded: Step) -> Array | None:
    """Return the indices of a step's examples, int64; None if the trace does not hold them."""
    return recorded["data"][recorded["data"] >= 0] if "data" in recorded else None  # -1 pads a shorter batch
