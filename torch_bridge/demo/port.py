"""The JAX side of the demo as a whole: what is handed to the checker."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import optax

from torch_bridge.demo import recipe
from torch_bridge.trace.trace import Array


@dataclass(frozen=True)
class Port:
    """A port of the demo's PyTorch script.

    Attributes:
        loss_fn: ``loss_fn(params, batch)``.
        rule: makes the update rule.
        order: makes the list of each step's indices.
    """

    loss_fn: Callable[[Any, Any], jax.Array] = recipe.loss_fn
    rule: Callable[[], optax.GradientTransformationExtraArgs] = field(default=recipe.rule)
    order: Callable[[], list[Array]] = field(default=recipe.order)
