"""The recipe of the demo in numbers, and its JAX side."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.ad_checkpoint import checkpoint_name

import funcsgd
from funcsgd import averages
from torch_bridge import data, init, random
from torch_bridge.trace.trace import Array

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
MAX_NORM = 0.4  # gradients are clipped to this norm
DECAY = 0.99  # of the moving average of the parameters
NAMES = ("0.weight", "0.bias", "2.weight", "2.bias")


def logits(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """Return the network's output, shape (n, 10), for parameters under torch's names and in torch's layout."""
    hidden = jax.nn.relu(named(x @ params["0.weight"].T + params["0.bias"], "0"))
    return named(hidden @ params["2.weight"].T + params["2.bias"], "2")


def named(output: jax.Array, layer: str) -> jax.Array:
    """Return a layer's output under torch's name for the layer, by which the checker finds it."""
    result: jax.Array = checkpoint_name(output, layer)  # type: ignore[no-untyped-call]
    return result


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
    """Return the update rule: clipping, `funcsgd.sgd` and an average."""
    return averaged(clip(), funcsgd.sgd(learning_rate, MOMENTUM, weight_decay=WEIGHT_DECAY))


def clip() -> optax.GradientTransformationExtraArgs:
    """Return torch's clipping by norm."""
    return funcsgd.clip_grad_norm(MAX_NORM, order=NAMES)


def averaged(*stages: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Return a chain of stages whose parameters a moving average follows."""
    return averages.with_average(optax.chain(*stages), averages.ema(DECAY, lerp=True))


def order() -> list[Array]:
    """Return the indices of every batch, drawn from the seed as torch draws them, after the initial weights."""
    random.manual_seed(SEED)
    for n_in, n_out in itertools.pairwise(LAYERS):
        init.linear(n_in, n_out)
    loader = data.DataLoader(range(N_TRAIN), batch_size=BATCH_SIZE, shuffle=True)
    return [batch[batch >= 0] for _ in range(EPOCHS) for batch in loader.index_batches(pad=-1)]


def scaled(pixels: Array) -> Array:
    """Return 4-bit pixels, 0 to 16, as float32 between 0 and 1."""
    return np.asarray(pixels.astype(np.float32) / 16)  # exact: 16 is a power of two
