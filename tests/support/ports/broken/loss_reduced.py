"""A cross-entropy that is summed over the batch."""

import jax
import jax.numpy as jnp

import funcsgd
from tests.support.small_run import DATA


def cross_entropy(logits, labels):
    log_p = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.sum(jnp.take_along_axis(log_p, labels[:, None], axis=-1))


def loss_fn(params, batch):
    x, y = batch
    hidden = jnp.tanh(x @ params["0.weight"].T + params["0.bias"])
    return cross_entropy(hidden @ params["2.weight"].T + params["2.bias"], y)


def port():
    return {"tx": funcsgd.sgd(0.1, momentum=0.9, weight_decay=0.01), "loss_fn": loss_fn, "data": DATA}
