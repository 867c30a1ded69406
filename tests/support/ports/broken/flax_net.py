"""A flax linen net whose LayerNorm keeps flax's epsilon."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import torch_bridge
from tests.support.small_run import DATA


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(5)(x))
        x = nn.LayerNorm()(x)
        return nn.Dense(3)(x)


def port(trace):
    net = Net()
    params = net.init(jax.random.key(0), jnp.zeros((1, 6)))
    weights = torch_bridge.map_weights(trace, params)

    def loss_fn(params, batch):
        x, y = batch
        return optax.softmax_cross_entropy_with_integer_labels(net.apply(params, x), y).mean()

    return {"tx": optax.sgd(0.1), "loss_fn": loss_fn, "data": DATA, "weights": weights}
