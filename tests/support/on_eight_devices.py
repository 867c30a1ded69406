"""What shards of trees become on eight devices: ``python -m tests.support.on_eight_devices RULES``, in a process.

RULES are the names of some of the rules below, separated by commas, or "all".
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import funcsgd
from funcsgd import averages, curvature, schedules

RULES = {
    "momentum": funcsgd.sgd(0.1, 0.9, weight_decay=0.1),
    "nesterov": funcsgd.sgd(0.1, 0.9, nesterov=True, weight_decay=0.1),
    "momentum off": funcsgd.sgd(0.1, jnp.float32(0.0), weight_decay=jnp.float32(0.0)),
    "adam": funcsgd.adam(0.1, weight_decay=0.1, amsgrad=True),
    "adamw": funcsgd.adamw(0.1, sqrt="mkl_avx512"),
    "clip": optax.chain(funcsgd.clip_grad_norm(1.0), funcsgd.sgd(0.1, 0.9)),
    "clip in any order": optax.chain(funcsgd.clip_grad_norm(1.0, summation="any"), funcsgd.sgd(0.1, 0.9)),
    "clip the maximum": optax.chain(funcsgd.clip_grad_norm(1.0, "inf"), funcsgd.sgd(0.1, 0.9)),
    "clip values": optax.chain(funcsgd.clip_grad_value(1.0), funcsgd.sgd(0.1, 0.9)),
    "average": averages.with_average(funcsgd.sgd(0.1), averages.ema(0.9)),
    "schedule": funcsgd.sgd(schedules.tabulate(schedules.step_lr(0.1, 1), 9), 0.9),
    "schedulers": funcsgd.sgd(funcsgd.scale_by_schedulers([schedules.step_lr(0.1, 1)], 9), 0.9),
}
RNG = np.random.default_rng(0)
VALUES = {"w": RNG.standard_normal((64, 24)).astype(np.float32), "b": RNG.standard_normal(64).astype(np.float32)}


def chosen(rules):
    return [(name, tx) for name, tx in rules.items() if sys.argv[1] in ("all", name) or name in sys.argv[1].split(",")]


def loss_fn(params):
    return sum(jnp.sum(x**2) for x in jax.tree.leaves(params)) / 2


def step(tx, params, state):
    updates, state = tx.update(jax.grad(loss_fn)(params), state, params)
    return optax.apply_updates(params, updates), state


def mesh_of(kind):
    return jax.make_mesh((8,), ("d",), axis_types=(kind,))


def sharded(mesh):
    return jax.device_put(VALUES, NamedSharding(mesh, P("d")))


def check_states_keep_the_sharding():
    params = sharded(mesh_of(AxisType.Auto))
    for name, tx in chosen(RULES | {"hutchinson": curvature.scale_by_hutchinson()}):
        like = [x for x in jax.tree.leaves(tx.init(params)) if x.shape in ((64, 24), (64,))]
        assert name in ("clip", "schedule") or like, name
        for x in like:
            assert x.sharding.is_equivalent_to(params["w" if x.ndim == 2 else "b"].sharding, x.ndim), (name, x.sharding)


def check_every_rule_gives_what_one_device_gives():
    for name, tx in chosen(RULES):
        wanted, _ = jax.jit(lambda p, tx=tx: step(tx, *step(tx, p, tx.init(p))))(VALUES)
        for kind in (AxisType.Auto, AxisType.Explicit):
            mesh = mesh_of(kind)
            with jax.set_mesh(mesh):
                params = sharded(mesh)
                state = tx.init(params)
                for _ in range(2):
                    params, state = jax.jit(lambda p, s, tx=tx: step(tx, p, s))(params, state)
                for leaf, value in wanted.items():
                    assert params[leaf].sharding.is_equivalent_to(NamedSharding(mesh, P("d")), value.ndim), (name, kind)
                    if name == "clip in any order":
                        np.testing.assert_allclose(params[leaf], value, rtol=1e-6, atol=1e-6)
                    else:
                        np.testing.assert_array_equal(params[leaf], value, err_msg=f"{name}, {kind}")


def check_every_rule_runs_under_shard_map():
    mesh = mesh_of(AxisType.Auto)
    for name, tx in chosen(RULES):

        def run(params, tx=tx):
            return step(tx, *step(tx, params, tx.init(params)))[0]

        got = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=P("d"), out_specs=P("d")))(sharded(mesh))
        first = {leaf: x[: len(x) // 8] for leaf, x in VALUES.items()}
        for leaf, value in jax.jit(run)(first).items():
            np.testing.assert_array_equal(got[leaf][: len(value)], value, err_msg=name)


def check_only_bits_are_worth_a_gathering():
    params = sharded(mesh_of(AxisType.Auto))

    def text(name):
        tx = RULES[name]
        return jax.jit(lambda p: step(tx, p, tx.init(p))).lower(params).compile().as_text()

    assert "all-gather" in text("clip")  # the search would find one
    for name in ("clip in any order", "clip the maximum", "momentum"):
        assert "all-gather" not in text(name), name


if __name__ == "__main__":
    assert jax.device_count() == 8
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            print(name)
