"""Convolutions in a loop: the bits that they have outside of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcsgd.training.convolutions import with_canonical_convolutions
from tests.support.training_runs import assert_same_bits


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def convolution(x_shape, k_shape, layout, **options):
    def loss(kernel, x):
        out = jax.lax.conv_general_dilated(x, kernel, dimension_numbers=layout, **options)
        return (out**2).sum() / 100

    return loss, normal(*k_shape), normal(3, *x_shape)


CASES = {
    "channels last": convolution(
        (8, 9, 9, 3), (3, 3, 3, 4), ("NHWC", "HWIO", "NHWC"), window_strides=(1, 1), padding="SAME"
    ),
    "torch's layout, strided": convolution(
        (8, 3, 9, 9), (4, 3, 3, 3), ("NCHW", "OIHW", "NCHW"), window_strides=(2, 2), padding=[(1, 1), (1, 1)]
    ),
    "output in another layout": convolution(
        (8, 9, 9, 3), (3, 3, 3, 4), ("NHWC", "HWIO", "HNCW"), window_strides=(1, 1), padding="VALID"
    ),
    "dilated": convolution(
        (8, 3, 9, 9),
        (4, 3, 3, 3),
        ("NCHW", "OIHW", "NCHW"),
        window_strides=(1, 1),
        padding="VALID",
        rhs_dilation=(2, 2),
    ),
    "one dimension": convolution((8, 3, 20), (4, 3, 5), ("NCH", "OIH", "NCH"), window_strides=(1,), padding="SAME"),
    "three dimensions": convolution(
        (4, 2, 5, 5, 5), (3, 2, 3, 3, 3), ("NCHWD", "OIHWD", "NCHWD"), window_strides=(1, 1, 1), padding="SAME"
    ),
}


def gradients_alone_and_in_a_loop(loss, kernel, batches, change):
    gradient = jax.grad(loss)
    alone = [jax.jit(gradient)(kernel, batch) for batch in batches]
    step = change(gradient)
    looped = jax.jit(lambda kernel, batches: jax.lax.scan(lambda k, x: (k, step(k, x)), kernel, batches)[1])
    return np.stack(alone), np.asarray(looped(kernel, batches))


@pytest.mark.parametrize("name", CASES)
def test_same_bits_in_a_loop_as_alone(name):
    assert_same_bits(*gradients_alone_and_in_a_loop(*CASES[name], with_canonical_convolutions))


def test_grouped_convolutions_up_to_rounding():
    options = {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 2}
    grouped = convolution((8, 4, 9, 9), (4, 2, 3, 3), ("NCHW", "OIHW", "NCHW"), **options)
    alone, looped = gradients_alone_and_in_a_loop(*grouped, with_canonical_convolutions)
    # A sum of 8 * 9 * 9 products, in any order, is this close.
    np.testing.assert_allclose(looped, alone, rtol=0, atol=648 * np.finfo(np.float32).eps * np.abs(alone).max())


def test_without_it_they_differ():
    alone, looped = gradients_alone_and_in_a_loop(*CASES["channels last"], lambda gradient: gradient)
    assert (alone != looped).any()  # if this fails, XLA has learnt to do it, and the module can go


def inside_calls(loss):
    def nested(kernel, x):
        called = jax.jit(loss)(kernel, x)
        chosen = jax.lax.cond(x.sum() > 0, loss, lambda kernel, x: 2 * loss(kernel, x), kernel, x)
        scanned = jax.lax.scan(lambda total, one: (total + loss(one, x), None), 0.0, jnp.stack([kernel, kernel]))[0]
        return called + chosen + scanned + jax.checkpoint(loss)(kernel, x)

    return nested


def canonical_only(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive is jax.lax.conv_general_dilated_p:
            numbers = equation.params["dimension_numbers"]
            assert (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec) == ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
            yield equation
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from canonical_only(inner)


@pytest.mark.thorough
def test_reaches_into_calls_loops_branches_and_checkpoints():
    loss, kernel, batches = CASES["torch's layout, strided"]
    nested = jax.value_and_grad(inside_calls(loss))
    changed = with_canonical_convolutions(nested)
    found = list(canonical_only(jax.make_jaxpr(changed)(kernel, batches[0]).jaxpr))
    assert len(found) >= 8  # forward and backward in each of the four
    np.testing.assert_allclose(changed(kernel, batches[0])[1], nested(kernel, batches[0])[1], rtol=1e-5, atol=1e-5)


def test_keeps_custom_derivative_rules_usable_before_it():
    @jax.custom_vjp
    def doubled(kernel, x):
        return 2 * CASES["channels last"][0](kernel, x)

    doubled.defvjp(lambda kernel, x: (doubled(kernel, x), (kernel, x)), lambda saved, g: (g * saved[0], None))
    _, kernel, batches = CASES["channels last"]
    np.testing.assert_array_equal(with_canonical_convolutions(jax.grad(doubled))(kernel, batches[0]), kernel)
    value = with_canonical_convolutions(doubled)(kernel, batches[0])
    np.testing.assert_allclose(value, doubled(kernel, batches[0]), rtol=1e-5)


def test_types_and_trees_stay():
    def step(tree, x):
        return {"y": tree["a"] * 2, "n": 1}, x

    out = with_canonical_convolutions(step)({"a": jnp.float32(3)}, None)
    assert out[0]["y"] == 6
    assert out[1] is None
