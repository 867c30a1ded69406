"""The parity check finds what it is there to find: each fault planted here makes bits differ."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcsgd
from tests.support.torch_runs import by_step, differing_bits, our_run, random_run, torch_run

LR, MOMENTUM, DECAY = 0.0137, 0.9, 0.01
PARAMS, GRADIENTS = random_run(np.float32, steps=20)
STEPS = by_step(GRADIENTS)
decay, momentum, learning_rate = funcsgd.add_weight_decay, funcsgd.add_momentum, funcsgd.scale_by_learning_rate


def differences(tx, **flags):
    return differing_bits(our_run(tx, PARAMS, STEPS), torch_run(PARAMS, STEPS, lr=LR, **flags))


def damped_first_step(dampening):
    """add_momentum whose buffers count as started, so that the first gradient is damped too."""
    tx = momentum(MOMENTUM, dampening)

    def init(params):
        state = tx.init(params)
        return state._replace(started=tuple(map(jnp.ones_like, state.started)))

    return optax.GradientTransformationExtraArgs(init, tx.update)


def nesterov_of_the_old_buffer():
    """g + momentum * (the buffer before this step), damped nowhere: one step behind torch's look-ahead."""
    tx = momentum(MOMENTUM)

    def update(g, state, params=None, **extra_args):
        _, new = tx.update(g, state, params)
        return jax.tree.map(lambda g, b: g + MOMENTUM * b, g, state.momentum_buffer), new

    return optax.GradientTransformationExtraArgs(tx.init, update)


IN_TORCH = {"momentum": MOMENTUM, "weight_decay": DECAY}
FAULTS = {
    "damped first step": (
        optax.chain(decay(DECAY), damped_first_step(0.1), learning_rate(LR)),
        {**IN_TORCH, "dampening": 0.1},
    ),
    "decay after momentum": (optax.chain(momentum(MOMENTUM), decay(DECAY), learning_rate(LR)), IN_TORCH),
    "decay decoupled from the learning rate": (
        optax.chain(momentum(MOMENTUM), learning_rate(LR), decay(DECAY)),
        IN_TORCH,
    ),
    "learning rate inside the buffer": (optax.chain(decay(DECAY), learning_rate(LR), momentum(MOMENTUM)), IN_TORCH),
    "Nesterov of the old buffer": (
        optax.chain(decay(DECAY), nesterov_of_the_old_buffer(), learning_rate(LR)),
        {**IN_TORCH, "nesterov": True},
    ),
    "Nesterov with the learning rate inside": (
        optax.chain(decay(DECAY), learning_rate(LR), momentum(MOMENTUM, nesterov=True)),
        {**IN_TORCH, "nesterov": True},
    ),
    "optax.sgd": (optax.chain(decay(DECAY), optax.sgd(LR, momentum=MOMENTUM)), IN_TORCH),
    "maximize forgotten": (funcsgd.sgd(LR, **IN_TORCH), {**IN_TORCH, "maximize": True}),
}


def test_without_a_fault_no_bit_differs():
    assert differences(funcsgd.sgd(LR, **IN_TORCH), **IN_TORCH) == 0


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_found(name):
    tx, flags = FAULTS[name]
    assert differences(tx, **flags) > 0


@pytest.mark.thorough
@pytest.mark.parametrize("flags", [{"momentum": 0.9}, IN_TORCH, {"momentum": 0.37, "nesterov": True}], ids=str)
def test_removing_rounded_is_found(plant, flags):
    plant("funcsgd.arithmetic.elementwise.rounded", lambda x: x)  # every rule rounds through this module
    assert differences(funcsgd.sgd(LR, **flags), **flags) > 0


def test_a_last_stage_without_its_barrier_is_found(plant):
    """XLA may join two factors: ``(d * 0.3) * lr`` becomes ``d * (0.3 * lr)``. jax 0.10 does, 0.12 does not."""

    def found():
        ours = our_run(optax.chain(optax.scale(0.3), learning_rate(LR)), PARAMS, STEPS)
        halfway = [[np.float32(0.3) * g for g in of_step] for of_step in STEPS]
        return differing_bits(ours, torch_run(PARAMS, halfway, lr=LR))

    assert found() == 0
    plant("funcsgd.stages.learning_rate.step", lambda d, factor, p: d * jnp.asarray(factor, d.dtype))
    d = np.concatenate([np.ravel(g) for of_step in STEPS for g in of_step])
    joined = jax.jit(lambda d: d * np.float32(0.3) * np.float32(LR))(d) != d * np.float32(0.3) * np.float32(LR)
    assert (found() > 0) == joined.any()


@pytest.mark.thorough
def test_eager_rounding_is_found():
    with jax.disable_jit():
        assert differences(funcsgd.sgd(LR, **IN_TORCH), **IN_TORCH) > 0


def test_apply_updates_outside_the_jit_is_found():
    tx = funcsgd.sgd(LR, **IN_TORCH)
    params, state, update = PARAMS, tx.init(PARAMS), jax.jit(tx.update)
    for of_step in STEPS:
        updates, state = update(of_step, state, params)
        params = optax.apply_updates(params, updates)
    assert differing_bits(params, [p[-1] for p in torch_run(PARAMS, STEPS, lr=LR, **IN_TORCH)]) > 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_bit_is_found(x64, dtype):
    x = np.ones(3, dtype)
    assert differing_bits([x], [x]) == 0
    assert differing_bits([x], [np.nextafter(x, dtype(2))]) == 3
    assert differing_bits([dtype(0.0)], [dtype(-0.0)]) == 1
    assert differing_bits([dtype(np.nan)], [-dtype(np.nan)]) == 0
    assert differing_bits([np.complex64(0j)], [np.complex64(complex(0, -0.0))]) == 1
    with pytest.raises(AssertionError):
        differing_bits([x], [x.astype(np.float16)])
