"""The batches of a run whose examples have no indices, kept leaf by leaf."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from torch_bridge.trace.trace import Array, Trace


def leaves_of(batch: Any, to_array: Callable[[Any], Array | None]) -> tuple[dict[str, Array], Any]:
    """Take a batch apart.

    Args:
        batch: an array, or arrays in nested lists, tuples and mappings.
        to_array: returns a leaf as an array, or None for what is none and is left out, such as a text.

    Returns:
        The leaves by name (``"0"``, ``"1"``, ``"image"``, ``"0/mask"``), and the structure, plain data fit for JSON:
        a leaf is its name, and what was left out is None, as is a list of nothing else.
    """
    leaves: dict[str, Array] = {}

    def taken(value: Any, path: str) -> Any:
        below = f"{path}/" if path else ""
        if isinstance(value, Mapping):
            return {str(key): taken(each, f"{below}{key}") for key, each in value.items()}
        if isinstance(value, list | tuple):
            parts = [taken(each, f"{below}{index}") for index, each in enumerate(value)]
            return parts if any(part is not None for part in parts) else None  # texts, as many as there are examples
        array = to_array(value)
        if array is None:
            return None
        leaves[path or "0"] = array
        return path or "0"

    structure = taken(batch, "")
    return leaves, structure


def recorded_batch(trace: Trace, step: int) -> Any:
    """Return the batch of a step as the run's loader gave it: NumPy arrays; lists and tuples are tuples.

    Raises:
        ValueError: the trace does not hold it.
    """
    structure, shapes = trace.static.get("batch"), trace.static.get("batch_shapes", {})
    if structure is None:
        known = trace.static.get("no_batches")
        raise ValueError("the trace does not hold the batches" + (f": {known}" if known else ""))

    def put(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {key: put(each) for key, each in part.items()}
        if isinstance(part, list):
            return tuple(put(each) for each in part)
        if part is None:
            return None
        key = f"batch/{part}"
        value = trace.value(key, step)
        if value is None:
            kept = "only a digest of" if trace.has(key, step) else "no"
            raise ValueError(
                f"the trace holds {kept} {key} at step {step}: give data=, or record with keep=Keep('full')"
            )
        rows = shapes.get(key, {})  # a step's value is padded to the largest shape of the run
        return value[tuple(slice(n) for n in rows.get(str(step), rows.get("first", value.shape)))]

    return put(structure)


def joined(parts: list[dict[str, Array]]) -> dict[str, Array] | None:
    """Return the leaves of several micro-batches one after another along their first axis; None if they do not fit."""
    if len(parts) == 1:
        return parts[0]
    try:
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except (KeyError, ValueError):
        return None
