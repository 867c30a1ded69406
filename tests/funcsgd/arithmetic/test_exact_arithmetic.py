"""The multiply-add that no compiler can take away, and the update that carries the last one to the parameters."""

import operator
from fractions import Fraction

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import funcsgd
from funcsgd import exact_arithmetic
from funcsgd.arithmetic import UnroundedUpdate
from funcsgd.arithmetic.exact import add_parts, fma, product_parts
from tests.support.drives import by_nnx
from tests.support.sampling import one_in
from tests.support.torch_runs import by_step, differing_bits, our_run, random_run, torch_run

FLAGS = {"momentum": 0.9, "weight_decay": 0.01, "nesterov": True}
SHAPES = ((7,), (40, 3), (33, 16))
N = 1000


def rounded_once(a, b, c):
    """``fl(a * b + c)`` by fractions."""
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    near = type(a)(float(exact))
    candidates = [np.nextafter(near, type(a)(-np.inf)), near, np.nextafter(near, type(a)(np.inf))]
    bits = f"u{near.itemsize}"
    return min(candidates, key=lambda x: (abs(Fraction(float(x)) - exact), int(x.view(bits)) & 1))


def operands(dtype):
    """Numbers; sums that cancel; products that end in a tie, with a third number that decides it from far below."""
    rng = np.random.default_rng(0)
    digits = np.finfo(dtype).nmant
    a, b, c = rng.standard_normal((3, 4 * N))
    c[N : 2 * N] = -(a * b * (1 + 1e-4 * c))[N : 2 * N]
    a[2 * N : 3 * N], b[2 * N : 3 * N] = 3, 2.0**digits + rng.integers(0, 2**digits, N)
    c[2 * N : 3 * N] = rng.choice([1e-30, -1e-30, 0, 1e-20, -0.25], N)
    a[3 * N :] = 1 + 2.0 ** -(digits // 2) * rng.integers(0, 4, N)
    b[3 * N :] = 2.0 ** (-1 - digits) * (1 + 2.0**-digits * rng.integers(-3, 4, N))
    c[3 * N :] = 1 + 2.0**-digits * rng.integers(0, 9, N)
    return a.astype(dtype), b.astype(dtype), c.astype(dtype)


def by_parts(a, b, c):
    return add_parts(*product_parts(a, b), c)


def by_update(a, b, c):
    return c + UnroundedUpdate.product(a, b)


def by_leaves(a, b, c):
    return c + jax.tree.map(lambda leaf: leaf * 1.0, UnroundedUpdate.product(a, b))


@pytest.mark.parametrize("function", one_in(2, [fma, by_parts, by_update, by_leaves]))
@pytest.mark.parametrize(("dtype", "x64"), [(np.float32, False), (np.float32, True), (np.float64, True)])
def test_one_rounding(function, dtype, x64):
    given = operands(dtype)
    expected = [np.array([rounded_once(*numbers) for numbers in zip(*given, strict=True)])]
    with jax.enable_x64(x64):
        arrays = [jnp.asarray(x) for x in given]
        for drive in (function, jax.jit(function), jax.jit(jax.vmap(function))):
            assert differing_bits([drive(*arrays)], expected) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinities_zeros_and_nan(x64, dtype):
    special = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0, -1.0, 3e38 if dtype is np.float32 else 1e150], dtype)
    a, b, c = (x.ravel() for x in np.meshgrid(special, special, special))
    with np.errstate(all="ignore"):
        expected = (a.astype(np.longdouble) * b + c).astype(dtype)
    assert differing_bits([jax.jit(fma)(a, b, c)], [expected]) == 0


def test_derivatives():
    a, b, c = jnp.float32(2), jnp.float32(3), jnp.float32(5)
    assert [float(d) for d in jax.grad(fma, argnums=(0, 1, 2))(a, b, c)] == [3.0, 2.0, 1.0]
    with exact_arithmetic():

        def after(rate):
            tx = funcsgd.sgd(rate, 0.5)
            p = jnp.array([1.5])
            return optax.apply_updates(p, tx.update(jnp.array([2.0]), tx.init(p), p)[0])[0]

        assert float(jax.grad(after)(0.125)) == -2.0


@pytest.mark.thorough
def test_parity_with_torch_eagerly_and_through_nnx():
    params, gradients = random_run(np.float32, SHAPES, steps=4)
    theirs = torch_run(params, by_step(gradients), lr=0.1, **FLAGS)
    with exact_arithmetic():
        assert differing_bits(by_nnx(funcsgd.sgd(0.1, **FLAGS), params, gradients), theirs) == 0
        with jax.disable_jit():
            assert differing_bits(our_run(funcsgd.sgd(0.1, **FLAGS), params, by_step(gradients)), theirs) == 0


@pytest.mark.thorough
def test_parity_through_a_jit_boundary():
    """Updates leave one program and meet the parameters in another, or in NumPy."""
    params, gradients = random_run(np.float32, SHAPES, steps=4)
    theirs = torch_run(params, by_step(gradients), lr=0.1, **FLAGS)
    tx = funcsgd.sgd(0.1, **FLAGS)
    with exact_arithmetic():
        update, state = jax.jit(tx.update), tx.init(params)
        for of_step in by_step(gradients):
            updates, state = update(of_step, state, params)
            params = jax.tree.map(operator.add, [np.asarray(p) for p in params], updates)
    assert differing_bits(params, [leaf[-1] for leaf in theirs]) == 0


def test_parity_through_linens_train_state():
    class Network(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x):
            return flax.linen.Dense(3)(x)

    network = Network()
    params = network.init(jax.random.key(0), jnp.ones((1, 7)))["params"]
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    gradients = [[rng.standard_normal(p.shape).astype(np.float32) for p in leaves] for _ in range(3)]
    theirs = torch_run([np.asarray(p) for p in leaves], gradients, lr=0.1, **FLAGS)
    with exact_arithmetic():
        state = TrainState.create(apply_fn=network.apply, params=params, tx=funcsgd.sgd(0.1, **FLAGS))
        for of_step in gradients:
            state = jax.jit(lambda state, g: state.apply_gradients(grads=g))(state, tree.unflatten(of_step))
    assert differing_bits(jax.tree.leaves(state.params), [leaf[-1] for leaf in theirs]) == 0


def test_masks_partitions_and_what_is_linear_take_unrounded_updates():
    params = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([3.0])}
    grads = {"a": jnp.array([0.1, 0.7]), "b": jnp.array([0.3])}

    def after(tx):
        return optax.apply_updates(params, tx.update(grads, tx.init(params), params)[0])

    plain = jax.jit(lambda: after(funcsgd.sgd(0.1)))()
    with exact_arithmetic():
        parts = optax.partition({"x": funcsgd.sgd(0.1), "y": optax.set_to_zero()}, {"a": "x", "b": "y"})
        assert after(parts)["a"].tolist() == plain["a"].tolist()
        assert after(parts)["b"].tolist() == [3.0]
        masked = optax.masked(funcsgd.sgd(0.1), {"a": True, "b": False})
        assert after(masked)["a"].tolist() == plain["a"].tolist()
        assert after(optax.chain(funcsgd.sgd(0.1), optax.scale(-1.0), optax.scale(-1.0)))["b"] == plain["b"]
        norm = optax.tree.norm(funcsgd.sgd(1.0).update(grads, funcsgd.sgd(1.0).init(params), params)[0])
    np.testing.assert_allclose(norm, optax.tree.norm(grads), rtol=1e-6)


def test_a_function_compiled_before_is_compiled_anew():
    tx = funcsgd.sgd(0.1)
    update = jax.jit(lambda p: tx.update(p, tx.init(p), p)[0])
    assert isinstance(update(jnp.ones(2)), jax.Array)
    with exact_arithmetic():
        update_in_here = update(jnp.ones(2))
        assert isinstance(update_in_here, UnroundedUpdate)
        assert (update_in_here.shape, update_in_here.dtype) == ((2,), jnp.float32)
        assert repr(update_in_here).startswith("UnroundedUpdate(high=Array([-0.1, -0.1]")
    assert isinstance(update(jnp.ones(2)), jax.Array)


def test_parameters_of_other_widths():
    with exact_arithmetic():
        update = UnroundedUpdate.product(jnp.array([1.0]), jnp.float32(0.5))
        assert (jnp.ones(1, jnp.bfloat16) + update).tolist() == [1.5]
        assert optax.apply_updates(jnp.ones(1, jnp.bfloat16), update).dtype == jnp.bfloat16
        with jax.enable_x64(True):
            assert (jnp.ones(1, jnp.float64) + update).dtype == jnp.float64


@pytest.mark.thorough
def test_norms_are_torchs_without_fusing():
    import torch

    rng = np.random.default_rng(0)
    with jax.disable_jit(), exact_arithmetic():
        for n in (3, 7, 11, 39):
            g = [rng.standard_normal(n).astype(np.float32)]
            theirs = torch.nn.utils.get_total_norm([torch.tensor(g[0])]).numpy()
            assert differing_bits([funcsgd.stages.get_total_norm(g)], [theirs]) == 0


def test_nnx_models_stay_models():
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    with exact_arithmetic():
        optimizer = nnx.Optimizer(model, funcsgd.sgd(0.1), wrt=nnx.Param)
        optimizer.update(model, nnx.grad(lambda model: (model(jnp.ones((1, 3))) ** 2).sum())(model))
    assert model.kernel[...].shape == (3, 2)


@pytest.mark.parametrize(
    ("tx", "n_arrays"),
    [
        (funcsgd.adam(), 3),
        (funcsgd.adam(amsgrad=True, weight_decay=0.1), 4),
        (funcsgd.adamw(), 3),
        (funcsgd.sgd(0.1, 0.9, dampening=0.5), 2),
        (funcsgd.sgd(0.1, optax.constant_schedule(0.9)), 2),
    ],
    ids=["adam", "amsgrad", "adamw", "dampening", "scheduled momentum"],
)
def test_a_state_is_calculated_once(tx, n_arrays):
    """A loop that calculated it anew would need the old one, which the donated memory no longer holds: a copy."""
    params = jnp.ones(4096)
    state = tx.init(params)

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    with exact_arithmetic():
        compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params).compile()
    program = compiled.as_text().split("\nENTRY")[1].splitlines()
    assert sum("= f32[4096]" in line and " fusion(" in line for line in program) == n_arrays
    assert not any("= f32[4096]" in line and " copy(" in line for line in program)
