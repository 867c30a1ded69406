"""A function's own program in float64, against the same function run in the 64-bit mode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from tests.support.sampling import one_in
from torch_bridge.judge import widening
from torch_bridge.judge.lanes import CannotWiden
from torch_bridge.judge.widening import beside, widened

X = np.random.default_rng(0).standard_normal((2, 6, 6)).astype(np.float32)


@jax.custom_vjp
def doubled(x):
    return 2 * x


doubled.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))


def scanned(x):
    carry, ys = lax.scan(lambda c, row: (jnp.tanh(c * 0.9 + row), c), jnp.zeros_like(x[0, 0]), x[0])
    return carry.sum() + ys.sum()


def branched(x):
    y = lax.cond(x.sum() > 0, lambda v: v * 1.1, lambda v: v * 0.7, x)
    return lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * 1.3), (0, y.sum()))[1]


def convolved(x):
    image = x[None]
    y = lax.conv_general_dilated(image, image[:, :, :3, :3], (1, 1), "SAME")
    return (y**2).sum()


def pooled(x):
    return (lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2), (1, 2, 2), "VALID") ** 3).sum()


def gathered(x):
    flat = x.ravel()
    top, _ = lax.top_k(flat, 5)
    return (jnp.sort(flat)[::3] * flat[: flat.size // 3]).sum() + top.sum() + flat.at[jnp.argmax(flat)].add(2.0).sum()


def multiplied(x):
    product = jnp.einsum("bij,bjk->bik", x, x, precision="highest")
    return jnp.log1p(product**2).sum()


FUNCTIONS = [
    lambda x: jax.nn.gelu(x).sum() / 7 + 1e-5,
    lambda x: jax.nn.relu(x).sum() + jax.nn.log_softmax(x).sum(),
    lambda x: doubled(x).sum(),
    lambda x: jax.checkpoint(jnp.sin)(x).sum(),
    lambda x: (lax.complex(x, 2 * x) * (1 + 0.3j)).real.sum(),
    scanned,
    convolved,
    pooled,
    gathered,
    multiplied,
]


@pytest.mark.parametrize("function", one_in(2, FUNCTIONS))
def test_is_the_function_in_float64_with_its_gradient(function):
    (loss, gradient) = widened(jax.value_and_grad(function))(X).wide
    with jax.enable_x64(True):
        expected, expected_gradient = jax.value_and_grad(function)(jnp.asarray(X, jnp.float64))
    assert loss.dtype == gradient.dtype == np.float64
    np.testing.assert_allclose(loss, expected, rtol=1e-13)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-12, atol=1e-12)


def test_a_narrow_accumulator_is_widened():
    function = jax.jit(lambda x: jnp.einsum("bij,bjk->bik", x, x, preferred_element_type=jnp.float32))
    expected = np.einsum("bij,bjk->bik", X.astype(np.float64), X.astype(np.float64))
    np.testing.assert_allclose(widened(function, reading="as traced")(X).wide, expected, rtol=1e-13)


def test_branches_and_loops():
    with jax.enable_x64(True):
        expected = branched(jnp.asarray(X, jnp.float64))
    np.testing.assert_allclose(widened(branched)(X).wide, expected, rtol=1e-14)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_is_taken_apart_by_its_shapes(reverse):
    """Constants, carries and rows of equal shapes; outputs of which some are carries alone."""

    def function(x):
        def body(carry, row):
            total, before = carry
            return (total + row * x[0, 0] + before, row), (total, x[1])

        (total, last), (totals, copies) = lax.scan(body, (jnp.zeros(6), x[0, 1]), x[0], reverse=reverse)
        return total.sum() + (last * totals).sum() + copies.sum()

    with jax.enable_x64(True):
        expected = function(jnp.asarray(X, jnp.float64))
    np.testing.assert_allclose(widened(function)(X).wide, expected, rtol=1e-13)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("reading", ["retraced", "as traced", "as written"])
def test_narrow_casts_are_left_out(dtype, reading):
    def half(x):
        return lax.reduce_precision(x.astype(dtype), 5, 7).astype(jnp.float32) * 3

    assert np.array_equal(widened(half, reading=reading)(X).wide, X.astype(np.float64) * 3)


def test_the_three_readings_of_a_number():
    def function(x):
        return x * 0.1

    one = np.float32(1)
    assert widened(function)(one).wide == 0.1
    assert widened(function, reading="as traced")(one).wide == np.float32(0.1)
    assert widened(function, reading="as written")(one).wide == 0.1
    behind_a_cast = widened(lambda x: (x.astype(jnp.bfloat16) * 0.1).astype(x.dtype))
    assert behind_a_cast(one).wide == 0.1


@pytest.mark.parametrize(("name", "value"), [("LAX", None), ("CAST", "no_such_function")])
def test_without_jaxs_own_cast_the_finished_trace_is_widened(monkeypatch, name, value):
    monkeypatch.setattr(widening, name, value)
    half = widened(lambda x: (x.astype(jnp.float16) * 3).astype(x.dtype))
    assert np.array_equal(half(X).wide, X.astype(np.float64) * 3)


def test_traces_without_casts_are_not_kept_for_others():
    @jax.jit
    def half(x):
        return x.astype(jnp.float16)

    assert widened(half)(X).wide.dtype == np.float64
    with jax.enable_x64(True):
        assert half(jnp.asarray(X, jnp.float64)).dtype == jnp.float16


def test_integers_keep_the_type_of_the_trace():
    labels = np.array([0, 3], np.int64)
    picked = widened(lambda x, i: jnp.take_along_axis(x[:, 0], i[:, None], 1).sum(), reading="as traced")
    assert picked(X, labels).wide == X[0, 0, 0].astype(np.float64) + X[1, 0, 3]


def test_random_numbers_are_those_of_the_function():
    def function(x):
        return x * jax.random.uniform(jax.random.key(0), x.shape)

    expected = X * np.asarray(jax.random.uniform(jax.random.key(0), X.shape), np.float64)
    assert np.array_equal(widened(function, reading="as traced")(X).wide, expected)


def test_a_call_of_the_host_is_refused():
    def function(x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x).sum()

    with pytest.raises(CannotWiden, match="pure_callback calls the host"):
        widened(function, reading="as traced")(X)


def test_beside_gives_both_sides_and_their_named_values():
    def function(x):
        return checkpoint_name(x @ x.swapaxes(1, 2), "product").sum()

    both = beside(function)(X)
    assert both.narrow.dtype == np.float32
    np.testing.assert_allclose(both.narrow, jax.jit(function)(X), rtol=1e-6)
    narrow, wide = both.names["product"]
    assert (narrow.dtype, wide.dtype) == (np.float32, np.float64)
    assert 0 < np.abs(narrow - wide).max() < 1e-5
    assert both.flips == 0


def test_decisions_that_fall_differently_are_counted_and_can_be_shared():
    """In float32 the sum is 0, in float64 it is 1e-9: relu falls differently, and its gradient jumps."""

    def function(x, terms):
        return jax.nn.relu(terms.at[1].add(x[0]) @ jnp.ones(3)).sum()

    x, terms = np.array([1e-9], np.float32), np.array([1, 0, -1], np.float32)
    terms = np.array([2.0**24, 0.0, -(2.0**24)], np.float32)
    x = np.array([-0.25], np.float32)
    flips = [beside(jax.grad(function))(x, terms * np.float32(scale)).flips for scale in (1, 0)]
    assert flips[1] == 0
    together = beside(jax.grad(function), share_decisions=True)(x, terms)
    assert together.narrow[0] == together.wide[0]


def test_the_line_at_which_precision_is_lost_is_named():
    def variance(x):
        mean = x.mean()
        return (x * x).mean() - mean * mean  # the line

    lines = beside(variance, locate=2.0**-24)(X + np.float32(1000)).lines
    line, factor = max(lines, key=lambda each: each[1])
    assert "test_widening.py" in line
    assert line.endswith("sub")
    assert factor > 1e4


def test_the_function_at_another_point_without_another_program():
    program = widened(lambda x: x**2)
    program(X)
    moved = X.astype(np.float64) + 1e-12
    np.testing.assert_array_equal(program(X, at=(moved,)).wide, moved**2)
