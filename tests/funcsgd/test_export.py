"""Every rule leaves Python: exported for CPU, CUDA, ROCm and TPU at once, without any of them here."""

import jax
import jax.numpy as jnp
import optax
import pytest
from jax import export

import funcsgd
from tests.support.sampling import one_in
from tests.support.torch_runs import differing_bits

RULES = {
    "sgd": funcsgd.sgd(0.1),
    "sgd, all options": funcsgd.sgd(0.1, momentum=0.9, dampening=0.1, weight_decay=0.01, maximize=True),
    "sgd, nesterov": funcsgd.sgd(0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    "sgd, schedules": funcsgd.sgd(lambda count: 0.5**count, momentum=lambda count: count * 0.1),
    "adam": funcsgd.adam(weight_decay=0.01, amsgrad=True),
    "adamw": funcsgd.adamw(lambda count: 0.5**count, sqrt="mkl_avx512"),
    "add_weight_decay": funcsgd.add_weight_decay(0.01),
    "add_momentum": funcsgd.add_momentum(0.9),
    "scale_by_learning_rate": funcsgd.scale_by_learning_rate(0.1),
}
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def step_of(tx):
    def step(params, state, g):
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), state

    return step


def exported(tx, params):
    return export.export(jax.jit(step_of(tx)), platforms=PLATFORMS)(params, tx.init(params), params)


def test_two_exported_steps_by_hand():
    tx = funcsgd.add_momentum(0.5)
    p = jnp.array([1.0])
    call = exported(tx, p).call
    p, state = call(p, tx.init(p), p)  # 1 + 1
    p, state = call(p, state, p)  # 2 + (0.5 * 1 + 2)
    assert p.tolist() == [4.5]


@pytest.mark.parametrize("dtype", one_in(2, [jnp.float32, jnp.bfloat16]))
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_exports(rule, dtype):
    tx, p = RULES[rule], jnp.arange(1, 68, dtype=dtype) / 7
    made = exported(tx, p)
    assert made.platforms == PLATFORMS
    here = jax.jit(step_of(tx))(p, tx.init(p), p)
    assert differing_bits(jax.tree.leaves(made.call(p, tx.init(p), p)[0]), jax.tree.leaves(here[0])) == 0


def test_a_platform_that_is_not_there():
    with pytest.raises(ValueError, match="no_such_platform"):
        export.export(jax.jit(lambda x: x), platforms=["no_such_platform"])(1.0).call(1.0)


def test_parity_of_the_exported_program_with_the_compiled_one():
    tx, p = RULES["sgd, all options"], jnp.linspace(-3, 3, 4099)
    state = tx.init(p)
    here, there = jax.jit(step_of(tx)), exported(tx, p).call
    for _ in range(3):
        assert differing_bits(jax.tree.leaves(here(p, state, p))[:1], jax.tree.leaves(there(p, state, p))[:1]) == 0
        p, state = here(p, state, p)
