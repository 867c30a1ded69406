"""Recorded runs of a family's script, and the diagnosis of its port."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

import funcsgd
import torch_bridge
from tests.support.ports.common import Family, LossFn
from torch_bridge.trace.trace import in_phase

COMPUTE = {"float32": None, "autocast": jnp.bfloat16, "bfloat16": None}
"""What the clean port computes its products in, for each precision of the script."""


def recorded(
    family: Family, seed: int = 0, steps: int = 3, prepare: Callable[[Any], Any] = lambda model: None, **options: Any
) -> tuple[torch_bridge.Trace, Any]:
    """Train the script for some steps; return the trace, and its data as the port takes them."""
    script = family.script(seed, **options)
    prepare(script.model)
    with torch_bridge.record(script.model, script.optimizer, loader=script.loader) as recorder:
        for _ in script.train(steps):
            pass
    dtype = jnp.bfloat16 if script.precision == "bfloat16" else np.float32
    return recorder.trace(), tuple(
        x.numpy().astype(dtype if x.is_floating_point() else np.int32) for x in script.loader.dataset.tensors
    )


RULE = optax.inject_hyperparams(funcsgd.sgd)(learning_rate=0.05, momentum=0.9, weight_decay=5e-4)
"""The scripts' rule; its learning rate is in its state, so that one compiled program serves every rate."""


def diagnosed(trace: torch_bridge.Trace, data: Any, loss_fn: LossFn, **options: Any) -> torch_bridge.Report:
    """Check a port under the scripts' rule, at the trace's learning rate."""
    params = {name: jnp.asarray(value) for name, value in in_phase(trace.initial, "parameter").items()}
    state = RULE.init(params)
    rate = jnp.float32(trace.steps["learning_rate/0"][0])
    state = state._replace(hyperparams={**state.hyperparams, "learning_rate": rate})
    return torch_bridge.check(trace, RULE, loss_fn=loss_fn, data=data, opt_state=state, **options)


def kept(port: Callable[..., LossFn]) -> Callable[..., LossFn]:
    """Return ``port`` with its functions kept, so that the checker finds their compiled programs again."""
    made: dict[Any, LossFn] = {}

    def again(**options: Any) -> LossFn:
        key = tuple(sorted(options.items(), key=lambda item: item[0]))
        if key not in made:
            made[key] = port(**options)
        return made[key]

    return again
