"""The two sides as the preflight takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import optax

from torch_bridge.replaying.batches import batches_of, indices_of
from torch_bridge.replaying.model_state import Buffers, model_state_of
from torch_bridge.replaying.steps import LossFn
from torch_bridge.trace.trace import Array, Trace, in_phase
from torch_bridge.translate.recipe import Recipe
from torch_bridge.translate.recipe_data import recorded_recipe
from torch_bridge.weights import Weights, same_weights


@dataclass(frozen=True)
class Sides:
    """A recorded run and its port, see `torch_bridge.check`; ``params`` are the port's own first parameters."""

    trace: Trace
    tx: optax.GradientTransformation | None = None
    loss_fn: LossFn | None = None
    data: Any = None
    given_weights: Weights | None = None
    buffers: Buffers = None
    params: Any = None
    order: Sequence[Array] | None = None
    opt_state: optax.OptState | None = None

    @cached_property
    def weights(self) -> Weights:
        """The places of torch's parameters in the port's."""
        return self.given_weights or same_weights(in_phase(self.trace.initial, "parameter"))

    @cached_property
    def recipe(self) -> Recipe | None:
        """The recorded recipe; None where the trace holds none."""
        return recorded_recipe(self.trace.static) if "recipe" in self.trace.static else None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Torch's names of the parameters that are trained."""
        return tuple(in_phase(self.trace.initial, "parameter"))

    @cached_property
    def start(self) -> Any:
        """Torch's first parameters, in the port's places."""
        return self.weights.to_jax(in_phase(self.trace.initial, "parameter"))

    @cached_property
    def model_state(self) -> tuple[Any, ...]:
        """Torch's first buffers in the port's places, as what the loss takes besides; empty if it takes none."""
        found = model_state_of(self.buffers, self.trace.initial)
        return () if found is None else (found.to_jax(self.trace.initial),)

    @cached_property
    def first_batch(self) -> Any:
        """The port's batch for the first step."""
        first = {key: self.trace.value(key, 0) for key in self.trace.keys if key == "data"}
        known = {key: value for key, value in first.items() if value is not None}
        return batches_of(self.data, self.trace)(0, indices_of(known))
