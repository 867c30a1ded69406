"""Sweeps: the same numbers as run by run, on one device and on eight."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcsgd
from funcsgd import sweep, train
from funcsgd.training import batch_order, grid

DATA = np.arange(8, dtype=np.float32)
POINTS = grid(learning_rate=[0.0, 0.25, 0.5], seed=np.arange(5))


def run(point, data):
    """On a quadratic with dyadic numbers: few enough updates that all arithmetic is exact, in whatever order."""

    def loss_fn(w, batch):
        return ((w - batch) ** 2).mean() / 2

    tx = funcsgd.sgd(point["learning_rate"])
    order = batch_order(len(data), 4)
    return train(loss_fn, tx, jnp.array(16.0), data, order, 3, key=jax.random.key(point["seed"])).params


def one_by_one():
    alone = jax.jit(run)
    return [float(alone({name: value[i] for name, value in POINTS.items()}, DATA)) for i in range(15)]


def test_a_sweep_is_run_after_run():
    swept = sweep(run, POINTS, DATA)
    assert swept.tolist() == one_by_one()
    assert len(set(swept.tolist())) > 5


@pytest.mark.parametrize("limit", [{"at_once": 1}, {"at_once": 4}, {"at_once": 15}, {"at_once": 99}])
def test_in_chunks(limit):
    np.testing.assert_array_equal(sweep(run, POINTS, DATA, **limit), sweep(run, POINTS, DATA))


def test_memory_sets_how_many_run_at_once():
    points = np.arange(64, dtype=np.float32)

    def wide(point):
        return jnp.cumsum(point + jnp.arange(4096.0))  # 16 KiB of result, and what it takes to get there

    whole = sweep(wide, points, devices=jax.devices()[:1])
    chunked = sweep(wide, points, memory=64 * 1024, devices=jax.devices()[:1])
    assert isinstance(chunked, np.ndarray)  # several chunks
    np.testing.assert_array_equal(chunked, whole)
    with pytest.raises(ValueError, match="not both"):
        sweep(wide, points, memory=1, at_once=1)


def test_compiles_once_for_all_chunks_and_calls():
    traces = []

    def counted(point):
        traces.append(1)
        return point * 2

    for _ in range(2):
        sweep(counted, np.arange(7.0), at_once=2)
    assert len(traces) == 1


def test_points_may_be_keys():
    keys = jax.random.split(jax.random.key(0), 3)
    np.testing.assert_array_equal(sweep(jax.random.uniform, keys), jax.vmap(jax.random.uniform)(keys))


@pytest.mark.parametrize(
    ("points", "limit", "message"),
    [
        ({}, {}, "nothing to sweep"),
        (np.zeros(0), {}, "nothing to sweep"),
        ({"a": np.zeros(2), "b": np.zeros(3)}, {}, r"\['a'\]: 2, \['b'\]: 3"),
        (np.zeros(2), {"at_once": 0}, "at least 1, but is 0"),
    ],
)
def test_refuses(points, limit, message):
    with pytest.raises(ValueError, match=message):
        sweep(lambda point: point, points, **limit)


def test_grid():
    points = grid(a=[1.5, 2.5], b=[0, 1, 2])
    np.testing.assert_array_equal(points["a"].reshape(2, 3), [[1.5] * 3, [2.5] * 3])
    np.testing.assert_array_equal(points["b"].reshape(2, 3), [[0, 1, 2]] * 2)
    with pytest.raises(ValueError, match=r"values of a must be 1-d, but have shape \(\)"):
        grid(a=1.0)
    with pytest.raises(ValueError, match="at least one"):
        grid()


EIGHT = """
import jax
from tests.funcsgd.training.test_sweep import DATA, POINTS, one_by_one, run
from funcsgd import sweep
assert len(jax.devices()) == 8
expected = one_by_one()
spread = sweep(run, POINTS, DATA)
for result in (spread, sweep(run, POINTS, DATA, at_once=1), sweep(run, POINTS, DATA, devices=jax.devices()[:3])):
    assert result.tolist() == expected
"""


@pytest.mark.thorough
def test_on_eight_devices():
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EIGHT],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
