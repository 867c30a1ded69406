"""The golden trace: the demo's PyTorch run as it was recorded, for machines without torch."""

from pathlib import Path

import numpy as np

from torch_bridge.demo.recipe import scaled
from torch_bridge.trace.trace import Array, Trace

PATH = Path(__file__).with_name("golden.trace")


def load() -> Trace:
    """Return the golden trace; gradients and float64 twins in full, everything else as digests."""
    return Trace.load(PATH)


def digits(trace: Trace) -> tuple[Array, Array]:
    """Return the digits that ship in the golden trace: float32 (1797, 64) between 0 and 1, int32 (1797,)."""
    return scaled(trace.extra["pixels"]), trace.extra["labels"].astype(np.int32)
