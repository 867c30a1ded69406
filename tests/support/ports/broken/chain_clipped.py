"""An optax chain that clips as optax does."""

import jax
import jax.numpy as jnp
import optax

from tests.support.small_run import DATA


def loss_fn(params, batch):
    x, y = batch
    hidden = jnp.tanh(x @ params["0.weight"].T + params["0.bias"])
    logits = hidden @ params["2.weight"].T + params["2.bias"]
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean()


def port():
    tx = optax.chain(
        optax.clip_by_global_norm(0.1),
        optax.add_decayed_weights(0.01),
        optax.sgd(0.1, momentum=0.9),
    )
    return {"tx": tx, "loss_fn": loss_fn, "data": DATA}
