"""Second derivatives along a direction: by hand, against the whole Hessian, against torch's double backward."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcsgd import curvature
from tests.support.sampling import one_in
from tests.support.torch_networks import JAX, SHAPES, double_backward, drawn, logistic, mlp

MODES = ("forward_over_forward", "forward_over_reverse")


def cubes(w):
    return (w["a"] ** 3).sum() + 2 * w["a"][0] * w["b"]


POINT = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(5.0)}
ALONG = {"a": jnp.array([1.0, 0.5]), "b": jnp.array(3.0)}
VALUE, SLOPE, CURVATURE = 1 + 8 + 10, (3 + 10) * 1 + 12 * 0.5 + 2 * 3, 6 * 1 + 12 * 0.25 + 2 * (2 * 1 * 3)


def test_by_hand():
    found = curvature.directional_derivatives(cubes, POINT, ALONG)
    assert found == (VALUE, SLOPE, CURVATURE, None)
    for mode in MODES:
        assert curvature.directional_curvature(cubes, POINT, ALONG, mode=mode) == CURVATURE
    product = curvature.hvp(cubes, POINT, ALONG)
    assert product["a"].tolist() == [6 * 1 + 2 * 3, 12 * 0.5]
    assert product["b"] == 2 * 1


def test_aux_comes_out_beside_them():
    def with_aux(w):
        return cubes(w), {"seen": w["b"] * 2}

    assert curvature.directional_derivatives(with_aux, POINT, ALONG, has_aux=True)[2:] == (
        CURVATURE,
        {"seen": 10.0},
    )
    for mode in MODES:
        found = curvature.directional_curvature(with_aux, POINT, ALONG, mode=mode, has_aux=True)
        assert found == (CURVATURE, {"seen": 10.0})
    assert curvature.hvp(with_aux, POINT, ALONG, has_aux=True)[1] == {"seen": 10.0}


@pytest.mark.parametrize("network", one_in(2, SHAPES), ids=lambda network: network.__name__)
def test_torch_double_backward_in_float64(network, x64):
    along = jax.jit(lambda p, d, x, y: curvature.directional_derivatives(lambda p: network(p, x, y, JAX), p, d)[:3])
    reverse = functools.partial(curvature.directional_curvature, mode="forward_over_reverse")
    again = jax.jit(lambda p, d, x, y: reverse(lambda p: network(p, x, y, JAX), p, d))
    worst = 0.0
    for seed in range(20):
        drawn_now = drawn(network, seed)
        theirs = np.array(double_backward(network, *drawn_now))
        ours = np.array([*along(*drawn_now), again(*drawn_now)])
        worst = max(worst, np.max(np.abs(ours / theirs[[0, 1, 2, 2]] - 1)))
    assert worst < 1e-12


def test_the_torch_check_finds_a_wrong_direction(x64):
    params, direction, x, y = drawn(logistic, 0)
    theirs = double_backward(logistic, params, direction, x, y)
    direction["b"] = direction["b"] * (1 + 1e-9)
    ours = curvature.directional_derivatives(lambda p: logistic(p, x, y, JAX), params, direction)
    assert abs(float(ours.curvature) / theirs[2] - 1) > 1e-12


@pytest.mark.thorough
def test_the_whole_hessian_in_float64(x64):
    params, direction, x, y = drawn(mlp, 0)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    d, _ = jax.flatten_util.ravel_pytree(direction)
    hessian = jax.jit(jax.hessian(lambda v: mlp(unravel(v), x, y, JAX)))(flat)
    product, _ = jax.flatten_util.ravel_pytree(
        curvature.hvp(lambda p: mlp(p, x, y, JAX), jax.tree.map(jnp.asarray, params), direction)
    )
    np.testing.assert_allclose(product, hessian @ d, rtol=0, atol=1e-12 * np.abs(hessian @ d).max())


@pytest.mark.thorough
def test_gauss_newton_is_the_jacobian_squared(x64):
    rng = np.random.default_rng(0)
    w, v, x = (jnp.array(rng.normal(size=size)) for size in (6, 6, (5, 3)))

    def outputs(w):
        return jnp.tanh(x @ w[:3, None] * w[3:])

    def loss(z):
        return jax.nn.logsumexp(z, axis=-1).sum()

    z = outputs(w)
    jacobian = jax.jit(jax.jacobian(outputs))(w).reshape(z.size, -1)
    inner = jax.jit(jax.hessian(lambda flat: loss(flat.reshape(z.shape))))(z.ravel())
    matrix = jacobian.T @ inner @ jacobian
    np.testing.assert_allclose(
        jax.jit(lambda w, v: curvature.gauss_newton_product(outputs, loss, w, v))(w, v), matrix @ v, rtol=1e-12
    )
    np.testing.assert_allclose(curvature.gauss_newton_curvature(outputs, loss, w, v), v @ matrix @ v, rtol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > -1e-14  # and never negative, as the Hessian is somewhere
    assert np.linalg.eigvalsh(jax.jit(jax.hessian(lambda w: loss(outputs(w))))(w)).min() < -1e-3


def test_gauss_newton_is_the_hessian_of_a_linear_model(x64):
    params, direction, x, y = drawn(logistic, 0)

    def outputs(p):
        return x @ p["w"] + p["b"], "aux"

    def loss(z):
        return (jax.nn.softplus(z) - y[:, 0] * z).mean()

    params = jax.tree.map(jnp.asarray, params)
    full = curvature.directional_curvature(lambda p: loss(outputs(p)[0]), params, direction)
    part, aux = curvature.gauss_newton_curvature(outputs, loss, params, direction, has_aux=True)
    product, _ = curvature.gauss_newton_product(outputs, loss, params, direction, has_aux=True)
    np.testing.assert_allclose(part, full, rtol=1e-13)
    np.testing.assert_allclose(sum((direction[k] * product[k]).sum() for k in product), full, rtol=1e-13)
    assert aux == "aux"


def test_refusals_name_the_leaf():
    with pytest.raises(ValueError, match="tree like the parameters"):
        curvature.hvp(cubes, POINT, {"a": ALONG["a"]})
    with pytest.raises(ValueError, match=r"at \['a'\] must be float32\[2\].* but is float32\[3\]"):
        curvature.directional_curvature(cubes, POINT, ALONG | {"a": jnp.ones(3)})
    with pytest.raises(TypeError, match=r"\['b'\] must be real and floating, but is int32"):
        curvature.directional_derivatives(cubes, POINT | {"b": jnp.array(5)}, ALONG)
    with pytest.raises(ValueError, match=r"mode must be .* but is 'reverse'"):
        curvature.directional_curvature(cubes, POINT, ALONG, mode="reverse")


def test_a_function_with_a_backward_rule_alone_needs_the_reverse_mode():
    @jax.custom_vjp
    def square(x):
        return x * x

    square.defvjp(lambda x: (x * x, x), lambda x, ct: (2 * x * ct,))
    point = jnp.array(3.0)
    assert curvature.directional_curvature(square, point, jnp.array(1.0), mode="forward_over_reverse") == 2
    with pytest.raises(NotImplementedError) as refusal:
        curvature.directional_curvature(square, point, jnp.array(1.0))
    assert 'mode="forward_over_reverse"' in " ".join(refusal.value.__notes__)
