"""Four ways to take a run's steps: one jitted call each, a scan, a vmap of the scan, flax's nnx.Optimizer.

Each is given a rule, parameters, and gradients with a leading axis of steps, and returns the parameters after every
step, leaf by leaf, with that leading axis.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from tests.support.torch_runs import Leaves, by_step, our_run


def by_jit(tx: optax.GradientTransformation, params: Leaves, gradients: Leaves) -> Leaves:
    return our_run(tx, params, by_step(gradients))


def scanned(tx: optax.GradientTransformation, params: Any, gradients: Any) -> Any:
    def step(carry: Any, g: Any) -> Any:
        params, state = carry
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return lax.scan(step, (params, tx.init(params)), gradients)[1]


def by_scan(tx: optax.GradientTransformation, params: Any, gradients: Any) -> Any:
    as_arrays = jax.tree.map(jnp.asarray, (params, gradients))
    return jax.tree.map(np.asarray, jax.jit(lambda p, g: scanned(tx, p, g))(*as_arrays))


def by_vmap(tx: optax.GradientTransformation, params: Leaves, gradients: Leaves) -> Leaves:
    """The run is the second of two lanes; the first is another run."""
    lanes = jax.tree.map(lambda x: jnp.stack([1.5 * x[..., ::-1], x]), (params, gradients))
    return [np.asarray(p[1]) for p in jax.jit(jax.vmap(lambda p, g: scanned(tx, p, g)))(*lanes)]


class _Model(nnx.Module):
    def __init__(self, params: Leaves) -> None:
        self.leaves = nnx.List([nnx.Param(jnp.asarray(p)) for p in params])


def by_nnx(tx: optax.GradientTransformation, params: Leaves, gradients: Leaves) -> Leaves:
    model = _Model(params)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model: _Model, optimizer: nnx.Optimizer, g: list[jax.Array]) -> None:
        state = nnx.state(model, nnx.Param)
        optimizer.update(model, jax.tree.unflatten(jax.tree.structure(state), g))

    after: list[Leaves] = [[] for _ in params]
    for of_step in by_step(gradients):
        step(model, optimizer, of_step)
        for kept, leaf in zip(after, model.leaves, strict=True):
            kept.append(np.asarray(leaf[...]))
    return [np.stack(kept) for kept in after]


DRIVES = {"jit": by_jit, "scan": by_scan, "vmap": by_vmap, "nnx": by_nnx}
