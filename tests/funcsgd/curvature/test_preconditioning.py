"""Diagonal preconditioners, against Newton's method and the exact Hessian."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from funcsgd import sgd
from funcsgd.curvature import hutchinson_diagonal, scale_by_diagonal, scale_by_hutchinson


def quadratic(h):
    return lambda w: 0.5 * (jnp.asarray(h) * w**2).sum()


def coupled(w):  # its Hessian has no zeros
    return (jnp.cos(w).sum() ** 2 + jnp.sin(w[0] * w[1]) * w.sum()) / 2


def updated(tx, grads, params=None, **extra_args):
    return jax.jit(lambda g: tx.update(g, tx.init(g if params is None else params), params, **extra_args))(grads)


def test_by_hand():
    (a, b), state = updated(scale_by_diagonal((jnp.array([4.0, 1.0]), 16.0), 0.5), (jnp.array([2.0, 2.0]), -8.0))
    assert a.tolist() == [1.0, 2.0]
    assert float(b) == -2.0
    assert (int(state.count), int(state.info.n_nonpositive)) == (1, 0)


def test_power_one_is_newtons_method_and_power_zero_plain_gradient_descent():
    h, w = jnp.array([100.0, 1.0, 1e-2]), jnp.array([1.0, -2.0, 3.0])
    g = jax.grad(quadratic(h))(w)
    assert np.allclose(updated(scale_by_diagonal(h), g)[0], w, rtol=1e-6)
    assert (updated(scale_by_diagonal(h, 0.0), g)[0] == g).all()


def test_a_prefix_a_missing_gradient_and_a_dtype():
    grads = {"a": (jnp.ones(2, jnp.bfloat16), jnp.ones((2, 3))), "b": None}
    scaled, _ = updated(scale_by_diagonal({"a": 4.0, "b": 1.0}), grads)
    assert scaled["b"] is None
    assert [(x.dtype, x.tolist()) for x in scaled["a"]] == [
        (jnp.bfloat16, [0.25] * 2),
        (jnp.float32, [[0.25] * 3] * 2),
    ]


def test_powers_side_by_side_and_scheduled():
    h, g = jnp.array([4.0]), jnp.array([1.0])
    together = jax.vmap(lambda p: updated(scale_by_diagonal(h, p), g)[0])(jnp.array([0.0, 0.5, 1.0]))
    assert together.tolist() == [[1.0], [0.5], [0.25]]
    tx = scale_by_diagonal(h, lambda count: jnp.where(count == 0, 0.0, 1.0))
    first, state = tx.update(g, tx.init(g))
    assert (float(first[0]), float(tx.update(g, state)[0][0])) == (1.0, 0.25)


def test_curvature_that_is_not_positive_is_an_error_when_known_and_a_count_when_traced():
    with pytest.raises(ValueError, match=r"positive curvatures, but h\['a'\] has a minimum of -1.0; take abs"):
        scale_by_diagonal({"a": np.array([1.0, -1.0])})
    g = jnp.array([1.0, 2.0, 3.0, 4.0])
    scaled, state = jax.jit(lambda h: updated(scale_by_diagonal(h), g))(jnp.array([2.0, 0.0, -1.0, jnp.nan]))
    assert scaled.tolist() == [0.5, 2.0, 3.0, 4.0]
    assert int(state.info.n_nonpositive) == 3


@pytest.mark.parametrize("power", [-0.1, 1.5])
def test_powers_outside_the_unit_interval_are_refused(power):
    for make in (lambda: scale_by_diagonal(1.0, power), lambda: scale_by_hutchinson(power)):
        with pytest.raises(ValueError, match=f"Invalid power value {power} provided"):
            make()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 1.0}, "decay=1 would give every estimate the weight 0"),
        ({"decay": 1.1}, "Invalid decay value 1.1 provided"),
        ({"floor": 0.0}, "floor=0 would divide by a curvature of 0"),
        ({"every": 0}, "every=0"),
        ({"n_probes": 0}, "n_probes=0"),
    ],
)
def test_bad_values_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        scale_by_hutchinson(**options)


def test_what_is_missing_is_named():
    tx, w = scale_by_hutchinson(), jnp.ones(2)
    for arguments in ({"params": w}, {"value_fn": quadratic(w)}):
        with pytest.raises(ValueError, match="value_fn=loss_fn"):
            tx.update(w, tx.init(w), **arguments)


@pytest.mark.thorough
def test_the_average_is_unbiased_from_the_first_estimate_on(x64):
    h = jnp.array([4.0, 1.0, 0.25])
    tx, w = scale_by_hutchinson(decay=0.9), jnp.array([1.0, 2.0, 3.0])
    state = tx.init(w)
    for n in range(1, 4):
        updates, state = tx.update(h * w, state, w, value_fn=quadratic(h))
        assert np.allclose(updates, w, rtol=1e-14)  # Newton's step: the estimate is h itself each time
        assert np.isclose(state.weight, 1 - 0.9**n, rtol=1e-14)


@pytest.mark.thorough
def test_averaging_brings_the_estimate_to_the_diagonal(x64):
    w = jnp.array([0.3, -1.1, 0.7, 2.0])
    hessian = jax.hessian(coupled)(w)
    tx = scale_by_hutchinson(decay=0.99)

    def step(state, _):
        return tx.update(w, state, w, value_fn=coupled)[1], None

    state, _ = jax.jit(lambda s: jax.lax.scan(step, s, length=2000))(tx.init(w))
    # An average with decay g has (1 - g) / (1 + g) of the variance of one estimate.
    error = np.sqrt(((hessian - jnp.diag(jnp.diag(hessian))) ** 2).sum(1) * 0.01 / 1.99)
    assert (np.abs(state.diagonal / state.weight - jnp.diag(hessian)) < 4 * error).all()


@pytest.mark.parametrize(("absolute", "second"), [(True, 4.0), (False, 10.0)])
def test_negative_and_flat_directions(absolute, second):
    h = jnp.array([8.0, -2.0, 0.0])
    tx = scale_by_hutchinson(absolute=absolute, floor=0.1)
    w = jnp.array([1.0, 1.0, 1.0])
    updates, state = updated(tx, jnp.array([8.0, 8.0, 8.0]), w, value_fn=quadratic(h))
    assert np.allclose(updates, [1.0, second, 10.0])  # the floor is 0.8
    info = state.info
    assert (int(info.n_nonpositive), int(info.n_floored), bool(info.nonfinite)) == (2, 1 if absolute else 2, False)


def test_an_estimate_that_is_not_finite_is_left_out():
    tx, g = scale_by_hutchinson(decay=0.5), jnp.array([4.0])
    at = {"good": jnp.array([1.0]), "bad": jnp.array([jnp.inf])}
    cubic = lambda w: (w**3).sum() / 6  # noqa: E731
    updates, state = tx.update(g, tx.init(g), at["bad"], value_fn=cubic)
    assert (float(updates[0]), bool(state.info.nonfinite), float(state.weight)) == (4.0, True, 0.0)
    updates, state = tx.update(g, state, 2 * at["good"], value_fn=cubic)
    assert (float(updates[0]), bool(state.info.nonfinite)) == (2.0, False)
    updates, state = tx.update(g, state, at["bad"], value_fn=cubic)
    assert (float(updates[0]), bool(state.info.nonfinite)) == (2.0, True)


def test_every_k_steps_costs_nothing_in_between():
    calls = []

    def value_fn(w):
        jax.debug.callback(lambda: calls.append(1))
        return (w**2).sum()

    tx, w = scale_by_hutchinson(every=3), jnp.ones(2)
    step = jax.jit(lambda state: tx.update(w, state, w, value_fn=value_fn)[1])
    state, weights = tx.init(w), []
    for _ in range(7):
        state = step(state)
        weights.append(float(state.weight))
    jax.effects_barrier()
    assert len(calls) == 3  # at updates 0, 3 and 6
    assert weights[0] == weights[1] == weights[2] < weights[3] == weights[5] < weights[6]


def test_in_a_chain_it_helps_an_ill_conditioned_network(x64):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(200, 6)) * 10.0 ** np.linspace(-1.5, 0, 6))
    y = x @ jnp.ones(6) + 0.01 * jnp.asarray(rng.normal(size=200))

    def value_fn(w):
        return ((x @ w - y) ** 2).mean() / 2

    def last(tx):
        def step(carry, _):
            w, state = carry
            value, grads = jax.value_and_grad(value_fn)(w)
            updates, state = tx.update(grads, state, w, value=value, grad=grads, value_fn=value_fn)
            return (optax.apply_updates(w, updates), state), None

        return value_fn(
            jax.jit(lambda c: jax.lax.scan(step, c, length=100)[0][0])((jnp.zeros(6), tx.init(jnp.zeros(6))))
        )

    assert last(optax.chain(scale_by_hutchinson(floor=1e-4), sgd(0.5))) < last(sgd(0.5)) / 10


@pytest.mark.thorough
def test_the_state_keeps_its_form_and_seeds_differ():
    w = {"a": jnp.ones(3, jnp.bfloat16), "b": jnp.ones(())}
    tx = scale_by_hutchinson(every=2, key=jax.random.key(1))
    loss = lambda p: (p["a"].astype(jnp.float32).sum() + p["b"]) ** 2  # noqa: E731
    state = tx.init(w)
    form = jax.tree.map(lambda x: (x.shape, x.dtype), state)
    for _ in range(3):
        updates, state = jax.jit(lambda s: tx.update(w, s, w, value_fn=loss))(state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == form
    assert updates["a"].dtype == jnp.bfloat16
    one, two = (hutchinson_diagonal(coupled, jnp.arange(4.0), jax.random.key(k)) for k in (0, 1))
    assert not np.array_equal(one, two)


def test_a_missing_gradient_and_low_precision():
    w = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(())}
    grads = {"a": jnp.ones(2, jnp.bfloat16), "b": None}
    loss = lambda p: 4 * (p["a"].astype(jnp.float32) ** 2).sum() + p["b"] ** 2  # noqa: E731
    updates, state = updated(scale_by_hutchinson(), grads, w, value_fn=loss)
    assert updates["b"] is None
    assert (updates["a"].dtype, updates["a"].tolist()) == (jnp.bfloat16, [0.125, 0.125])
    assert state.diagonal["a"].dtype == jnp.float32


def test_a_second_update_compiles_nothing():
    tx, w, traces = optax.chain(scale_by_hutchinson(every=2), scale_by_diagonal(2.0), sgd(0.1)), jnp.ones(2), []

    @jax.jit
    def step(w, state):
        traces.append(1)
        updates, state = tx.update(w, state, w, value=1.0, grad=w, value_fn=quadratic(jnp.ones(2)))
        return optax.apply_updates(w, updates), state

    state = tx.init(w)
    for _ in range(3):
        w, state = step(w, state)
    assert len(traces) == 1


def test_exports_for_every_platform():
    tx, w = optax.chain(scale_by_hutchinson(), scale_by_diagonal(2.0)), [jnp.ones(9), jnp.ones((3, 5))]
    value_fn = lambda p: (p[0] ** 2).sum() + (p[1] ** 4).sum()  # noqa: E731
    platforms = ("cpu", "cuda", "rocm", "tpu")
    step = jax.jit(lambda g: tx.update(g, tx.init(g), g, value_fn=value_fn)[0])
    assert jax.export.export(step, platforms=platforms)(w).platforms == platforms
