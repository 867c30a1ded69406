"""The two sides as the preflight takes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import optax

from torch_bridge.replaying.batches import batches_of, indices_of
from torch_bridge.trace.trace import Array, Trace, in_phase
from torch_bridge.translate.recipe import Recipe
from torch_bridge.translate.recipe_data import recorded_recipe
from torch_bridge.weights import Weights, same_weights


@dataclass(frozen=True)
class Sides:
    """A recorded run and its port, see `torch_bridge.check`; ``params`` are the port's own first parameters."""

    trace: Trace
    tx: optax.GradientTransformation | None = None
    loss_fn: Callable[[Any, Any], jax.Array] | None = None
    data: Any = None
    given_weights: Weights | None = None
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
    def first_batch(self) -> Any:
        """The port's batch for the first step."""
        first = {key: self.trace.value(key, 0) for key in self.trace.keys if key == "data"}
        return batches_of(self.data)(0, indices_of({key: value for key, value in first.items() if value is not None}))
