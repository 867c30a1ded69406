"""One of two processes that sweep and train together: ``python -m tests.support.one_of_two_processes ID PORT DIE``.

Prints what it got, as JSON. With ``DIE`` 1 the second process is killed after that, and the first one goes on.
"""

import json
import os
import signal
import sys

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import funcsgd

X = np.random.default_rng(0).standard_normal((64, 5)).astype(np.float32)
DATA = X, X @ np.arange(5, dtype=np.float32)
PARAMS = {"w": np.zeros(5, np.float32)}
ORDER = funcsgd.training.batch_order(64, 16)
RULE = funcsgd.sgd(0.1, 0.9)
POINTS = funcsgd.training.grid(learning_rate=[0.01, 0.1], seed=[0, 1])


def loss_fn(params, batch):
    return ((batch[0] @ params["w"] - batch[1]) ** 2).mean()


def run(point, data):
    key = jax.random.key(point["seed"])
    return funcsgd.train(loss_fn, funcsgd.sgd(point["learning_rate"]), PARAMS, data, ORDER, 3, key=key).params["w"]


def results(place=lambda x, split: x, **where):
    """Sweeps, in one piece and in several, of hyperparameters and of keys; and a run, stopped and resumed."""
    keys = jax.random.split(jax.random.key(7), 3)
    data = tuple(place(x, True) for x in DATA)
    params = {"w": place(PARAMS["w"], False)}
    key = jax.random.key(0)
    part = funcsgd.train(loss_fn, RULE, params, data, ORDER, 3, key=key, stop=6)
    found = {
        "grid": funcsgd.sweep(run, POINTS, DATA, at_once=2, **where),
        "keys": funcsgd.sweep(lambda key: jax.random.normal(key, (2,)), keys, at_once=2, **where),
        "pieces": funcsgd.sweep(run, POINTS, DATA, at_once=1, **where),
        "train": funcsgd.train(loss_fn, RULE, params, data, ORDER, 3, key=key).params["w"],
        "resumed": funcsgd.train(loss_fn, RULE, part.state, data, ORDER, 3).params["w"],
    }
    return {name: np.asarray(value).tolist() for name, value in found.items()}


if __name__ == "__main__":
    number, port, die = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "1"
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        f"127.0.0.1:{port}", 2, number, heartbeat_timeout_seconds=10, shutdown_timeout_seconds=10
    )
    mesh = Mesh(np.array(jax.devices()), ("data",))

    def place(x, split):
        sharding = NamedSharding(mesh, PartitionSpec("data") if split else PartitionSpec())
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    print(json.dumps(results(place)), flush=True)
    if die and number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if die:
        funcsgd.sweep(run, POINTS, DATA, at_once=2)
