"""Where a function is discontinuous: its inputs are nudged, and what moves by far more than they do jumps."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from torch_bridge.trace.trace import Array, Step

NUDGE = 1e-10
"""The share of its typical size by which an input is moved, in float64."""

_JUMP = 1e-6  # a result that moves by more than this share of its size under a nudge of NUDGE is discontinuous there
_DRAWS = 8


def jumps(evaluate: Callable[[Any], Step], inputs: Any, at: Step, size: float = NUDGE) -> dict[str, Array]:
    """Return by how much each element of each quantity jumps when the inputs are nudged; 0 where it moves smoothly.

    Args:
        evaluate: the quantities at other inputs.
        inputs: a pytree; its floating arrays are moved.
        at: the quantities at the inputs as they are.
        size: of a nudge, relative.
    """
    rng = np.random.default_rng(0)
    spread = {key: np.zeros(np.shape(value)) for key, value in at.items()}
    for direction in (-1, 1, *[0] * _DRAWS):  # biases alone, all one way, all the other way; everything at random
        values = evaluate(jax.tree.map(lambda x, d=direction: _nudged(x, size, d, rng), inputs))
        spread = {key: np.maximum(row, np.abs(values[key] - at[key])) for key, row in spread.items()}
    smooth = {key: size / NUDGE * _JUMP * np.abs(value).max(initial=0.0) for key, value in at.items()}
    return {key: np.where(row > smooth[key], row, 0.0) for key, row in spread.items()}


def _nudged(x: Any, nudge: float, direction: int, rng: np.random.Generator) -> Any:
    """Floating numbers moved by a tiny share of their typical size, in float64, all one way or at random; others as
    they are.
    """
    array = np.asarray(x)
    if not jax.numpy.issubdtype(array.dtype, np.floating):
        return x
    wide = array.astype(np.float64)
    if direction and wide.ndim > 1:
        return wide
    size = np.sqrt(np.mean(wide**2)) if wide.size else 1.0
    return wide + nudge * (size or 1.0) * (direction or rng.standard_normal(wide.shape))
