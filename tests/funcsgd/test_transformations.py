"""The rules under JAX's transformations: vmap over hyperparameters, grad, donation, sharding."""

import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import funcsgd
from tests.support.sampling import one_in
from tests.support.torch_runs import by_step, differing_bits, name_of, random_run, torch_run

FLAGS = {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}
SWEEP = {  # lanes of a vmap; exact zeros switch a stage off in their lane only
    "learning_rate": np.float32([0.1, 0.0, 1.0, 0.0137, 1e-4]),
    "momentum": np.float32([0.9, 0.0, 0.37, 0.0, 1.0]),
    "weight_decay": np.float32([0.0, 0.01, 0.0, 0.5, 1.0]),
}


def run(tx, params, gradients):
    def step(carry, g):
        params, state = carry
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return lax.scan(step, (params, tx.init(params)), gradients)[1]


def test_two_lanes_by_hand():
    def two_steps(momentum):
        return run(funcsgd.sgd(1.0, momentum), jnp.zeros(1), -jnp.ones((2, 1)))[:, 0]

    assert jax.vmap(two_steps)(jnp.array([0.0, 0.5])).tolist() == [[1.0, 2.0], [1.0, 2.5]]


@pytest.mark.parametrize("over", [["learning_rate"], ["momentum"], ["weight_decay"], list(SWEEP)], ids=",".join)
@pytest.mark.parametrize("dtype", one_in(2, [np.float32, np.float64]))
@pytest.mark.parametrize("flags", [{}, {"nesterov": True}, {"dampening": 0.1, "maximize": True}], ids=name_of)
def test_parity_of_every_lane(x64, over, dtype, flags):
    params, gradients = random_run(dtype, shapes=((33,), (7,)), steps=30)
    fixed = {"learning_rate": 0.0137, "momentum": 0.9, "weight_decay": 0.01}
    lanes = {name: jnp.asarray(SWEEP[name]) for name in over}
    swept = jax.jit(jax.vmap(lambda lane: run(funcsgd.sgd(**{**fixed, **lane}, **flags), params, gradients)))(lanes)
    for i in range(5):
        lane = {**fixed, **{name: float(lanes[name][i]) for name in over}}
        start, in_lane = {**lane, "momentum": 0.9}, lambda step, lane=lane: {"momentum": lane["momentum"]}
        theirs = torch_run(params, by_step(gradients), in_lane, lr=start.pop("learning_rate"), **start, **flags)
        assert differing_bits([leaf[i] for leaf in swept], theirs) == 0


def test_a_negative_lane_cannot_be_refused():
    jax.vmap(lambda lr: run(funcsgd.sgd(lr), jnp.ones(1), jnp.ones((1, 1))))(jnp.array([-1.0, 1.0]))


@pytest.mark.parametrize("nesterov", [False, True])
def test_derivatives_through_two_steps_have_their_closed_form(x64, nesterov):
    lr, m, wd, g0, g1 = 0.125, 0.5, 0.25, 2.0, 3.0  # short in binary: nothing below is rounded in float64
    tau = 0.0 if nesterov else 0.25

    def after(p, lr, m, wd):
        tx = funcsgd.sgd(lr, m, tau, wd, nesterov)
        return run(tx, p[None], jnp.array([[g0], [g1]]))[-1, 0]

    def closed_form(p, lr, m, wd):
        first = g0 + wd * p
        p1 = p - lr * (first + m * first if nesterov else first)
        second = g1 + wd * p1
        buffer = m * first + (1 - tau) * second
        return p1 - lr * (second + m * buffer if nesterov else buffer)

    at = (jnp.array(1.5), lr, m, wd)
    ours, expected = (jax.jit(jax.grad(f, argnums=(0, 1, 2, 3)))(*at) for f in (after, closed_form))
    assert [float(d) for d in ours] == [float(d) for d in expected]


def test_donated_buffers_are_taken_and_change_no_bit():
    tx = funcsgd.sgd(0.1, **FLAGS)

    def step(params, state, g):
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), state

    p, g = jnp.linspace(-1, 1, 4099), jnp.linspace(2, -3, 4099)
    kept, donated = jax.jit(step), jax.jit(step, donate_argnums=(0, 1))
    expected, theirs = (p, tx.init(p)), (p + 0, jax.tree.map(jnp.copy, tx.init(p)))
    for _ in range(3):
        before = theirs
        expected, theirs = kept(*expected, g), donated(*theirs, g)
        assert differing_bits([theirs[0]], [expected[0]]) == 0
        assert before[0].is_deleted()
        assert before[1][2].momentum_buffer.is_deleted()


SHARDED = """
    import jax, jax.numpy as jnp, numpy as np, optax, funcsgd
    from jax.sharding import NamedSharding, PartitionSpec
    assert jax.device_count() == 8
    mesh = jax.make_mesh((8,), ("shards",))
    tx = funcsgd.sgd(0.1, momentum=0.9, dampening=0.1, weight_decay=0.01)
    rng = np.random.default_rng(0)
    p = {"w": rng.standard_normal((64, 33)).astype(np.float32), "b": rng.standard_normal(8 * 7).astype(np.float32)}
    steps = [jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32), p) for _ in range(10)]

    @jax.jit
    def step(params, state, g):
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), state

    def run(put):
        params, state = put(p), tx.init(put(p))
        for g in steps:
            params, state = step(params, state, put(g))
        return params, state[2].momentum_buffer

    split = NamedSharding(mesh, PartitionSpec("shards"))
    alone, sharded = run(jax.device_put), run(lambda tree: jax.device_put(tree, split))
    assert all(8 * x.addressable_shards[0].data.size == x.size for x in jax.tree.leaves(sharded))
    print(sum(a.tobytes() != b.tobytes() for a, b in zip(
        map(np.asarray, jax.tree.leaves(alone)), map(np.asarray, jax.tree.leaves(sharded)), strict=True)))
"""


@pytest.mark.thorough
def test_shards_on_eight_devices_change_no_bit():
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(SHARDED)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("0", 0), done.stderr
