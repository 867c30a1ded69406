"""The two sides as the preflight takes them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch_bridge.judge.origin import Origin
from torch_bridge.trace.trace import in_phase
from torch_bridge.translate.recipe import Recipe
from torch_bridge.translate.recipe_data import recorded_recipe


@dataclass(frozen=True)
class Sides(Origin):
    """A recorded run and its port, see `torch_bridge.check`; ``params`` are the port's own first parameters."""

    params: Any = None

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
        model_state = self.layout.model_state
        return () if model_state is None else (model_state.to_jax(self.trace.initial),)

    @cached_property
    def first_batch(self) -> Any:
        """The port's batch for the first step."""
        return self.batch(0)
