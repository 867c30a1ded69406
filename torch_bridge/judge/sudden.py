"""The steps without a float64 twin at which a free run leaves torch's at once: rounding grows, a fault jumps."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from torch_bridge.judge.findings import norm
from torch_bridge.trace.phases import phase_of
from torch_bridge.trace.trace import Step

JUMP = 16.0
"""How many times as far as at any step before."""
FLOOR = 2.0**-20
"""A relative distance that counts as rounding in any run."""
MOST = 2
SAMPLE = 2**14
"""Elements of an array by which its distance is estimated."""


class SuddenSteps:
    """The steps of a run whose loss or gradient is much further from torch's than at all steps before.

    Attributes:
        states: step -> the port's state before it; the `MOST` that jump highest.
    """

    def __init__(self) -> None:
        """Begin with no step."""
        self.states: dict[int, Any] = {}
        self._heights: dict[int, float] = {}
        self._furthest = FLOOR

    def see(self, step: int, recorded: Step, values: Step, state: Any) -> None:
        """Take the next step of both runs, and what the port's began with."""
        distance = max(_distance(recorded, values, phase) for phase in ("loss", "gradient"))
        height = distance / self._furthest if self._furthest < np.inf else 0.0
        self._furthest = max(self._furthest, distance)
        if height > JUMP:
            self._heights[step], self.states[step] = height, state
            if len(self._heights) > MOST:
                least = min(self._heights, key=lambda t: self._heights[t])
                del self._heights[least], self.states[least]


def _distance(recorded: Step, values: Mapping[str, Any], phase: str) -> float:
    """The distance of all quantities of a phase together, relative to torch's; infinite where either is not finite."""
    off = size = 0.0
    for key, value in values.items():
        if phase_of(key) == phase and key in recorded:
            stride = 1 + recorded[key].size // SAMPLE
            mine, torchs = (np.asarray(x, np.float64).reshape(-1)[::stride] for x in (value, recorded[key]))
            same = (mine == torchs) | (np.isnan(mine) & np.isnan(torchs))
            with np.errstate(invalid="ignore"):
                off += norm(np.where(same, 0.0, mine - torchs)) ** 2
            size += norm(torchs) ** 2
    return float(np.sqrt(off / size)) if 0 < size < np.inf else float("inf") if off else 0.0
