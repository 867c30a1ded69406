import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcsgd import scale_by_schedulers
from funcsgd.schedules import exponential_lr, reduce_lr_on_plateau
from torch_bridge.replaying.monte_carlo import shaken

SEEDS = np.arange(200, dtype=np.uint32)


def ulps(function, *args):
    """The results of 200 shaken runs, in ulps from the plain one."""
    plain = np.asarray(jax.jit(function)(*args))
    runs = np.stack([np.asarray(jax.jit(shaken(function))(seed, *args)) for seed in SEEDS[:1]])
    many = np.asarray(jax.jit(jax.vmap(shaken(function), in_axes=(0, *[None] * len(args))))(SEEDS, *args))
    return (np.concatenate([runs, many]) - plain) / np.spacing(np.abs(plain))


def test_one_operation_moves_by_one_ulp_either_way():
    moved = ulps(jnp.multiply, jnp.float32(1.3), jnp.float32(1.1))
    assert set(moved.tolist()) == {-1.0, 0.0, 1.0}


@pytest.mark.parametrize(
    "function", [jnp.negative, jnp.abs, jax.nn.relu, jnp.ravel, lambda x: x[::-1], lambda x: jnp.maximum(x, 1)]
)
def test_exact_operations_stay(function):
    assert not ulps(function, jnp.linspace(-2, 2, 9)).any()


def test_zero_infinity_and_nan_stay():
    x = jnp.array([0.0, -0.0, jnp.inf, -jnp.inf, jnp.nan], jnp.float32)
    for seed in SEEDS[:20]:
        moved = np.asarray(jax.jit(shaken(lambda x: x * 1.5))(seed, x))
        assert moved.tobytes() == np.asarray(x * 1.5).tobytes()


def test_sums_are_taken_in_another_order():
    # Their exact sum is 1; in float32 it depends on when the large ones cancel.
    x = jnp.array([2.0**24, 1.0, -(2.0**24)] + [0.0] * 13, jnp.float32)
    many = np.asarray(jax.jit(jax.vmap(shaken(jnp.sum), in_axes=(0, None)))(SEEDS, x))
    assert (many < 0.5).any()
    assert (many > 0.5).any()
    products = jax.jit(jax.vmap(shaken(lambda a, b: a @ b), in_axes=(0, None, None)))(SEEDS, x, jnp.ones(16))
    assert len(np.unique(np.round(np.asarray(products)))) > 1


def test_enters_derivatives_and_compiled_calls():
    def loss(w, x):
        return jnp.mean(jax.nn.log_softmax(jax.nn.relu(x @ w)) ** 2)

    w, x = jnp.ones((4, 3)) * jnp.arange(1.0, 4.0), jnp.linspace(-1, 1, 20).reshape(5, 4)
    exact = jax.grad(loss)(w, x)
    runs = np.asarray(jax.jit(jax.vmap(shaken(jax.grad(loss)), in_axes=(0, None, None)))(SEEDS, w, x))
    assert runs.std(0).max() > 0
    np.testing.assert_allclose(runs.mean(0), exact, rtol=1e-5, atol=1e-6)


def test_trees_dtypes_and_integers_pass(x64):
    def function(tree):
        return {"c": tree["a"].astype(jnp.complex64) * 2, "h": tree["a"].astype(jnp.float16) * 3, "n": tree["n"] + 1}

    out = jax.jit(shaken(function))(SEEDS[0], {"a": jnp.ones(3, jnp.float64), "n": jnp.int32(4)})
    assert out["n"] == 5
    assert (out["c"].dtype, out["h"].dtype) == (jnp.complex64, jnp.float16)


def test_a_loop_is_moved_as_a_whole():
    def function(x):
        return jax.lax.scan(lambda c, _: (c * 1.01, None), x, None, length=3)[0]

    assert set(np.abs(ulps(function, jnp.float32(1.3))).tolist()) == {0.0, 1.0}


def test_doubles_inside_stay_doubles():
    """They move by their own ulps, which a float32 does not feel."""
    stage = scale_by_schedulers([exponential_lr(0.1, 0.9), reduce_lr_on_plateau(0.1, patience=0)], 9)

    def rate(value):
        state = stage.init(())
        for _ in range(4):
            _, state = stage.update((), state, value=value)
        return state.learning_rate

    assert not ulps(rate, jnp.float32(1.0)).any()
