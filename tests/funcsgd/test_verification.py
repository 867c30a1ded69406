"""Whole training steps, as they are compiled and with the exact arithmetic; and programs whose bits a compiler took."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import funcsgd
from funcsgd import averages, schedules
from tests.support.sampling import one_in

N_CLASSES = 10


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape) / np.sqrt(shape[0]), jnp.float32)


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def perceptron(p, x, y):
    return cross_entropy(jax.nn.relu(x @ p["in"] + p["bias"]) @ p["out"], y)


def transposed(p, x, y):
    return cross_entropy(jax.nn.relu(x @ p["in"].T + p["bias"]) @ p["out"].T, y)


def convolution(p, x, y):
    image = x.reshape(-1, 8, 8, 1)
    h = lax.conv_general_dilated(image, p["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return cross_entropy(jax.nn.relu(h + p["bias"]).mean((1, 2)) @ p["out"], y)


def layer_norm(p, x, y):
    h = x @ p["in"]
    h = (h - h.mean(-1, keepdims=True)) * lax.rsqrt(h.var(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]
    return cross_entropy(jax.nn.gelu(h) @ p["out"], y)


def embedding(p, x, y):
    tokens = jnp.abs(10 * x[:, :12]).astype(jnp.int32) % 20
    return cross_entropy(p["table"][tokens].mean(1) @ p["out"], y)


def attention(p, x, y):
    h = x.reshape(-1, 4, 16)
    q, k, v = (h @ p[name] for name in "qkv")
    h = jax.nn.softmax(q @ k.swapaxes(1, 2) / 4) @ v
    return cross_entropy(h.mean(1) @ p["out"], y)


def summed(p, x, y):
    return perceptron(p, x, y) * x.shape[0]


HIDDEN = {"in": normal(1, 64, 32), "bias": normal(2, 32), "out": normal(3, 32, N_CLASSES)}
NETWORKS = {
    "perceptron": (perceptron, HIDDEN, 16),
    "transposed weights": (transposed, {"in": HIDDEN["in"].T, "bias": HIDDEN["bias"], "out": HIDDEN["out"].T}, 16),
    "convolution": (
        convolution,
        {"kernel": normal(4, 3, 3, 1, 16), "bias": normal(5, 16), "out": normal(6, 16, N_CLASSES)},
        16,
    ),
    "layer norm": (layer_norm, {**HIDDEN, "scale": normal(7, 32)}, 16),
    "embedding": (embedding, {"table": normal(8, 20, 24), "out": normal(9, 24, N_CLASSES)}, 16),
    "batch of one": (perceptron, HIDDEN, 1),
    "summed loss": (summed, HIDDEN, 16),
    "rematerialised": (jax.checkpoint(perceptron), HIDDEN, 16),
    "attention": (
        attention,
        {**{name: normal(i, 16, 16) for i, name in enumerate("qkv")}, "out": normal(3, 16, N_CLASSES)},
        16,
    ),
}
SGD = {"momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
RULES = {
    "plain": lambda: funcsgd.sgd(0.1, **SGD),
    "clip, schedule, EMA": lambda: optax.chain(
        funcsgd.clip_grad_norm(0.5),
        averages.with_average(funcsgd.sgd(schedules.CosineAnnealingLR(0.1, T_max=10), **SGD), averages.ema(0.99)),
    ),
}


def step_of(tx, loss_fn):
    def step(params, state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    return step


QUICK = [
    ("transposed weights", "clip, schedule, EMA"),
    ("convolution", "plain"),
]
STEPS = [
    *QUICK,
    *one_in(0, [(n, r) for n in NETWORKS for r in RULES if (n, r) not in QUICK], thorough=3),
]


@pytest.mark.parametrize("case", STEPS, ids=": ".join)
def test_training_steps_are_bitwise(case):
    network, rule = case
    loss_fn, params, batch = NETWORKS[network]
    tx = RULES[rule]()
    x, y = normal(10, batch, 64) * 8, jnp.arange(batch) % N_CLASSES
    funcsgd.assert_bitwise(step_of(tx, loss_fn), params, tx.init(params), x, y)


def without_parameters(p, g):
    """A gradient that ends in selects, and an update that does not receive the parameters it is added to."""
    tx = funcsgd.sgd(0.1)
    updates, _ = tx.update(jnp.nan_to_num(g), tx.init(p))
    return optax.apply_updates(p, updates)


P, G = normal(11, 65, 33) * 8, normal(12, 65, 33) * 8


def test_a_program_whose_bits_the_compiler_took_is_found():
    found = funcsgd.verify(without_parameters, P, G, calls=2)
    assert not found.bitwise
    (leaf,) = found.differences
    assert (leaf.shape, leaf.call) == ((65, 33), 0)
    assert 0 < leaf.n_differing < 65 * 33
    assert leaf.worst_ulps >= 1
    assert "1 leaves have other bits" in str(found)
    assert "give tx.update the parameters" in str(found)
    with pytest.raises(AssertionError, match="rounding: 1 leaves"):
        funcsgd.assert_bitwise(without_parameters, P, G)


@pytest.mark.thorough
def test_a_rule_without_its_marks_is_found(plant):
    def step(p, g):
        tx = funcsgd.sgd(0.1)
        return optax.apply_updates(p, tx.update(jnp.nan_to_num(g), tx.init(p), p)[0])

    funcsgd.assert_bitwise(step, P, G)
    plant("funcsgd.arithmetic.elementwise.hidden", lambda y, beside, constant: y)
    assert not funcsgd.verify(step, P, G).bitwise


def test_jitted_steps_that_donate_and_results_that_are_fed_back():
    seen = []

    def step(p, count):
        jax.debug.callback(lambda n: seen.append(int(n)), count)
        return optax.apply_updates(p, funcsgd.sgd(0.5).update(p, funcsgd.sgd(0.5).init(p), p)[0]), count + 1

    found = funcsgd.verify(jax.jit(step, donate_argnums=0), jnp.ones(3), jnp.zeros((), jnp.int32), calls=3)
    jax.effects_barrier()
    assert (found.bitwise, found.n_values, sorted(seen)) == (True, 12, [0, 0, 1, 1, 2, 2])
    assert str(found) == "bitwise: equal in every bit, 12 values in 3 calls"


def test_a_difference_in_the_sign_of_zero_or_in_an_integer_counts_and_nan_does_not(monkeypatch):
    from funcsgd import verification

    x = np.float32([0.0, np.nan, 1.0])
    y = np.float32([-0.0, -np.nan, np.nextafter(np.float32(1), np.float32(2))])
    assert verification._distance(x, y) == (2, 1)
    assert verification._distance(np.int32([1, 2]), np.int32([1, 5])) == (1, 0)


@pytest.mark.parametrize(("step", "calls", "message"), [(lambda p: p, 0, "calls=0"), (lambda p: None, 1, "no array")])
def test_what_cannot_be_verified_is_refused(step, calls, message):
    with pytest.raises(ValueError, match=message):
        funcsgd.verify(step, P, calls=calls)
