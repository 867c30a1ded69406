"""A training step of its own, with another weight decay."""

import jax
import jax.numpy as jnp

from tests.support.small_run import DATA, loss_fn

LR, MOMENTUM, WEIGHT_DECAY = 0.1, 0.9, 0.02


@jax.jit
def train_step(state, batch):
    params, buffers = state
    loss, grads = jax.value_and_grad(loss_fn)(params, batch)
    decayed = jax.tree.map(lambda g, p: g + WEIGHT_DECAY * p, grads, params)
    buffers = jax.tree.map(lambda b, d: MOMENTUM * b + d, buffers, decayed)
    params = jax.tree.map(lambda p, b: p - LR * b, params, buffers)
    return (params, buffers), {"loss": loss, "gradient": grads, "momentum_buffer": buffers, "parameter": params}


def port(trace):
    params = {name: jnp.asarray(trace.initial[f"parameter/{name}"]) for name in trace.static["shapes"]}
    return {"step": train_step, "state": (params, jax.tree.map(jnp.zeros_like, params)), "data": DATA}
