"""A port's model state, such as BatchNorm's running statistics, and torch's buffers."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import jax
import numpy as np

from torch_bridge.trace.trace import Array, Step, in_phase
from torch_bridge.weights import Weights, same_weights

Buffers: TypeAlias = Weights | Literal[True] | None
"""How a port's model state lies to torch's buffers: a mapping, True for a dict by torch's names in torch's layout, or
None for a port that has none."""


@dataclass(frozen=True)
class ModelState:
    """Moves buffers between a trace and a port.

    Attributes:
        weights: how they lie.
    """

    weights: Weights

    def to_jax(self, state: Step) -> Any:
        """Return the model state of torch's buffers in ``state``, such as `Trace.before` or ``Trace.initial``.

        Integers become JAX's default ones.

        Raises:
            KeyError: a buffer is missing.
        """
        named = {name: _jax_integers(value) for name, value in in_phase(state, "buffer").items()}
        return self.weights.to_jax(named)

    def to_torch(self, tree: Any) -> dict[str, Array]:
        """Return a model state by torch's names, in torch's layout; integers as torch's int64."""
        named = self.weights.to_torch(tree)
        return {name: _torch_integers(value) for name, value in named.items()}


def model_state_of(buffers: Buffers, initial: Step) -> ModelState | None:
    """Return how a port's model state lies.

    Args:
        buffers: see `Buffers`.
        initial: the trace's first state.

    Raises:
        ValueError: the trace has no buffers.
    """
    if buffers is None:
        return None
    known = in_phase(initial, "buffer")
    if not known:
        raise ValueError("buffers= is given, but the recorded model has no buffers: leave it out")
    if buffers is True:
        return ModelState(same_weights({name: _jax_integers(value) for name, value in known.items()}))
    if not isinstance(buffers, Weights):
        raise ValueError(
            f"buffers= is a {type(buffers).__name__}: give True for a dict by torch's names, or "
            "torch_bridge.map_weights(buffers, model_state), where buffers are torch's by name"
        )
    return ModelState(buffers)


def _jax_integers(value: Array) -> Array:
    value = np.asarray(value)
    return value.astype(jax.dtypes.canonicalize_dtype(value.dtype)) if value.dtype.kind in "iu" else value


def _torch_integers(value: Array) -> Array:
    value = np.asarray(value)
    return value.astype(np.int64) if value.dtype.kind == "i" else value
