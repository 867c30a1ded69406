"""The quantities of a training step, in the order in which one follows from another."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FIRST = (
    "data", "batch", "buffer_before", "input", "forward", "loss", "backward", "gradient", "clip", "metric",
)  # fmt: skip
"""The phases of a step before its optimizer: the examples' indices, their values where there are no indices, buffers
that the step found changed, what layers are given and return, the loss that was differentiated, gradients with respect
to the outputs of layers, gradients as ``backward()`` left them and as they were clipped, and the latest metric of a
ReduceLROnPlateau."""

FUNCTION = ("input", "forward", "loss", "backward", "gradient", "buffer")
"""The phases that a loss function has."""


LAST = ("parameter", "buffer", "average")
"""The phases of a step after its optimizer. Buffers, such as BatchNorm's running statistics, are made in the forward
pass, but what they are does not act before evaluation: a first difference in them is one of evaluation alone."""


def phases_of(header: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the phases of a run in causal order: a difference belongs to the first one that shows it.

    Args:
        header: ``Trace.static``; its ``"quantities"`` are those that the optimizer computes or uses.
    """
    return (*FIRST, *header.get("quantities", ()), *LAST)


def causal_order(phases: Sequence[str], keys: Iterable[str]) -> list[str]:
    """Return the keys of quantities in causal order; unknown phases stand before the parameters."""
    places = {phase: index for index, phase in enumerate(phases)}
    unknown = places["parameter"] - 0.5
    return sorted(keys, key=lambda key: places.get(phase_of(key), unknown))


def phase_of(key: str) -> str:
    """Return the phase of a quantity's key: ``"gradient"`` of ``"gradient/0.weight"``."""
    return key.partition("/")[0]


def name_of(key: str) -> str:
    """Return the parameter's (or group's) name in a quantity's key; empty for a quantity of the whole run."""
    return key.partition("/")[2]
