"""What the demo trains, in numbers, and the JAX side of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcsgd
from torch_bridge.parity.tap import tap
from torch_bridge.parity.trace import Array

SEED = 0
LAYERS = (64, 32, 10)
N_TRAIN = 1197  # of 1797 digits; the other 600 are held out, and the last batch of an epoch is a short one
BATCH_SIZE = 32
EPOCHS = 3
STEPS_PER_EPOCH = -(-N_TRAIN // BATCH_SIZE)
N_STEPS = EPOCHS * STEPS_PER_EPOCH
LEARNING_RATE = 0.1
GAMMA = 0.5  # the learning rate is halved after each epoch
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4


def logits(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """Return the network's output, shape (n, 10), for parameters under torch's names and in torch's layout."""
    hidden = jax.nn.relu(x @ params["0.weight"].T + params["0.bias"])
    return hidden @ params["2.weight"].T + params["2.bias"]


def loss_fn(params: dict[str, jax.Array], batch: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Return the mean cross entropy of a batch ``(x, y)``, shapes (n, 64) and (n,)."""
    x, y = batch
    losses: jax.Array = optax.softmax_cross_entropy_with_integer_labels(logits(params, x), y)
    return losses.mean()


def accuracy(params: dict[str, Array], x: Array, y: Array) -> float:
    """Return the share of examples whose largest logit is that of their label."""
    return float(np.mean(np.argmax(logits({k: jnp.asarray(v) for k, v in params.items()}, jnp.asarray(x)), 1) == y))


def learning_rate(count: jax.Array) -> jax.Array:
    """Return the learning rate of update ``count``, from 0: halved after each epoch, read from a table."""
    table = jnp.array([LEARNING_RATE * GAMMA**epoch for epoch in range(EPOCHS)])
    return table[count // STEPS_PER_EPOCH]


def rule() -> optax.GradientTransformationExtraArgs:
    """Return the update rule: `funcsgd.sgd`, with a tap after the weight decay."""
    return optax.chain(
        funcsgd.add_weight_decay(WEIGHT_DECAY),
        tap("weight_decay"),
        funcsgd.add_momentum(MOMENTUM),
        funcsgd.scale_by_learning_rate(learning_rate),
    )


def scaled(pixels: Array) -> Array:
    """Return 4-bit pixels, 0 to 16, as float32 between 0 and 1."""
    return np.asarray(pixels.astype(np.float32) / 16)  # exact: 16 is a power of two
