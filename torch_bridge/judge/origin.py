"""What a check was given, kept so that its first difference can be shown again by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optax

from torch_bridge.replaying.batches import batches_of, indices_of
from torch_bridge.replaying.layout import Layout, layout_of
from torch_bridge.replaying.model_state import Buffers
from torch_bridge.replaying.steps import Carry, LossFn, StepFunction
from torch_bridge.trace.trace import Array, Trace, in_phase
from torch_bridge.weights import Weights, same_weights


@dataclass(frozen=True)
class Origin:
    """The arguments of `torch_bridge.check`; the trace with full values."""

    trace: Trace
    tx: optax.GradientTransformation | None = None
    loss_fn: LossFn | None = None
    data: Any = None
    given_weights: Weights | None = None
    buffers: Buffers = None
    opt_state: optax.OptState | None = None
    step: StepFunction | None = None
    state: Carry = None
    order: Sequence[Array] | None = None

    @property
    def weights(self) -> Weights:
        """The places of torch's parameters in the port's."""
        return self.given_weights or same_weights(in_phase(self.trace.initial, "parameter"))

    @property
    def layout(self) -> Layout:
        """How parameters lie, and the model state."""
        return layout_of(self.trace, self.given_weights, self.buffers, of_step=self.step is not None)

    def batch(self, step: int) -> Any:
        """Return the port's batch of torch's examples at a step."""
        return batches_of(self.data, self.trace)(step, indices_of(self.trace.step(step)))
