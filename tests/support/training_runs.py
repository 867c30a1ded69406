"""Small problems for the tests of training, and the same run as a loop of one jitted update for each batch."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import funcsgd
from funcsgd import averages, schedules

N, BATCH, EPOCHS = 150, 32, 3  # five updates an epoch, the last one of 22 samples
STEPS = -(-N // BATCH)


class Problem(NamedTuple):
    loss_fn: object
    params: object
    data: object


def _normal(*shape, seed=0):
    return (0.2 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def _digits():
    digits = load_digits()
    return jnp.asarray((digits.data[:N] / 16).astype(np.float32)), jnp.asarray(digits.target[:N].astype(np.int32))


def cross_entropy(logits, y):
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


@functools.cache
def linear_regression():
    x = _normal(N, 5, seed=1)
    y = x @ np.arange(5, dtype=np.float32) + 1
    params = {"w": _normal(5), "b": np.zeros(1, np.float32)}
    return Problem(lambda p, xy: ((xy[0] @ p["w"] + p["b"] - xy[1]) ** 2).mean(), params, (x, y))


@functools.cache
def perceptron():
    params = {
        "w1": _normal(64, 16),
        "b1": np.zeros(16, np.float32),
        "w2": _normal(16, 10),
        "b2": np.zeros(10, np.float32),
    }

    def loss_fn(p, xy):
        hidden = jax.nn.relu(xy[0] @ p["w1"] + p["b1"])
        return cross_entropy(hidden @ p["w2"] + p["b2"], xy[1])

    return Problem(loss_fn, params, _digits())


@functools.cache
def convolutional():
    params = {"k1": _normal(3, 3, 1, 4), "k2": _normal(3, 3, 4, 4), "w": _normal(4, 10)}

    def convolve(x, kernel, stride):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=layout)

    def loss_fn(p, xy):
        hidden = jax.nn.relu(convolve(xy[0].reshape(-1, 8, 8, 1), p["k1"], 1))
        hidden = jax.nn.relu(convolve(hidden, p["k2"], 2)).mean((1, 2))
        return cross_entropy(hidden @ p["w"], xy[1])

    return Problem(loss_fn, params, _digits())


PROBLEMS = {"linear regression": linear_regression, "perceptron": perceptron, "convolutional": convolutional}


@functools.cache
def recipe():
    """Momentum, weight decay, a schedule by epochs and an average."""
    schedule = schedules.cosine_annealing_lr(0.1, T_max=EPOCHS)
    rate = schedules.per_epoch(schedules.tabulate(schedule, EPOCHS), STEPS)
    return averages.with_average(funcsgd.sgd(rate, momentum=0.9, weight_decay=1e-3), averages.ema(0.9))


def index_batches(seed=0, epochs=EPOCHS):
    rng = np.random.default_rng(seed)
    batches = np.full((epochs, STEPS * BATCH), -1)
    batches[:, :N] = [rng.permutation(N) for _ in range(epochs)]
    return batches.reshape(epochs, STEPS, BATCH)


def by_hand(problem, tx, batches):
    """Parameters, the optimizer's state and losses of a loop over one jitted update."""
    tx = optax.with_extra_args_support(tx)

    @jax.jit
    def step(params, state, batch):
        def value_fn(params):
            return problem.loss_fn(params, batch)

        loss, grads = jax.value_and_grad(value_fn)(params)
        updates, state = tx.update(grads, state, params, value=loss, grad=grads, value_fn=value_fn)
        return optax.apply_updates(params, updates), state, loss

    params, state, losses = problem.params, tx.init(problem.params), []
    for epoch in batches:
        for indices in epoch:
            batch = jax.tree.map(lambda x, rows=indices[indices >= 0]: x[rows], problem.data)
            params, state, loss = step(params, state, batch)
            losses.append(loss)
    return params, state, jnp.stack(losses)


def assert_same_bits(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(left), jax.tree.leaves(right), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), jax.tree_util.keystr(path)
        assert a.tobytes() == b.tobytes(), f"{jax.tree_util.keystr(path)}: {np.sum(a != b)} of {a.size} differ"
