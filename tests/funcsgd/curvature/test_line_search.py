"""The step to the minimum of the quadratic along a direction: closed forms, every flag, and where it must run."""

import functools
import itertools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

import funcsgd
from funcsgd.curvature import observe_quadratic_step, scale_by_quadratic_linesearch
from tests.support.sampling import one_in
from tests.support.torch_networks import JAX, SHAPES, convolutional, double_backward, drawn, mlp


def run(tx, loss, params, steps=1, **extra):
    """Make some updates; return the parameters and the info of each update, of the last stage."""
    state, infos = tx.init(params), []
    for _ in range(steps):
        value, grad = jax.value_and_grad(loss)(params)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss, **extra)
        params = optax.apply_updates(params, updates)
        infos.append(state[-1].info)
    return params, infos


def downhill(*stages):
    return optax.chain(optax.scale(-1.0), *stages)


def parabola(w):
    return 2.0 * ((w - 3.0) ** 2).sum()  # curvature 4 everywhere


def test_one_step_by_hand():
    params, (info,) = run(downhill(scale_by_quadratic_linesearch(0.1)), parabola, jnp.array([1.0]))
    assert params.tolist() == [3.0]  # g = -8, d = 8: slope -64, curvature 4 * 64
    assert (info.slope, info.curvature, info.step_size, info.step_taken) == (-64, 256, 0.25, 0.25)
    assert (info.predicted_decrease, info.relative_step, info.normalised_step) == (8, 2.5, 0)
    assert np.isnan(info.realised_decrease)
    assert [bool(flag) for flag in info[8:]] == [False] * 4 + [True]


@pytest.mark.parametrize("network", one_in(2, SHAPES), ids=lambda network: network.__name__)
def test_alpha_of_torch_double_backward_in_float64(network, x64):
    tx = scale_by_quadratic_linesearch()

    @jax.jit
    def measured(params, direction, x, y):
        def loss(p):
            return network(p, x, y, JAX)

        value, grad = jax.value_and_grad(loss)(params)
        return tx.update(direction, tx.init(params), params, value=value, grad=grad, value_fn=loss)[1].info

    for seed in range(10):
        _, slope, curvature = double_backward(network, *drawn(network, seed))
        info = measured(*drawn(network, seed))
        expected = (slope, curvature, -slope / curvature if curvature > 0 else np.nan)
        np.testing.assert_allclose((info.slope, info.curvature, info.step_size), expected, rtol=1e-12)


def test_a_quadratic_s_line_minimum_from_any_direction(x64):
    rng = np.random.default_rng(0)
    for _ in range(20):
        root, w, d = rng.normal(size=(6, 6)), rng.normal(size=6), rng.normal(size=6)
        hessian = jnp.array(root @ root.T + 0.1 * np.eye(6))

        def loss(w, hessian=hessian):
            return 0.5 * w @ hessian @ w + w.sum()

        tx = optax.chain(optax.stateless(lambda g, p, d=d: jnp.array(d)), scale_by_quadratic_linesearch())
        after, (info,) = run(tx, loss, jnp.array(w))
        assert abs(d @ jax.grad(loss)(after)) < 1e-12 * abs(d) @ abs(hessian @ after + 1)  # no slope is left
        np.testing.assert_allclose(info.predicted_decrease, loss(jnp.array(w)) - loss(after), rtol=1e-11)


def test_exact_steepest_descent_keeps_its_textbook_rate(x64):
    """Akaike 1959: from the worst start the distance to the minimum falls by (k - 1) / (k + 1) each step."""
    k = 10.0

    def loss(w):
        return 0.5 * (w[0] ** 2 + k * w[1] ** 2)

    params, infos = run(downhill(scale_by_quadratic_linesearch()), loss, jnp.array([k, 1.0]), steps=10)
    np.testing.assert_allclose(loss(params) / loss(jnp.array([k, 1.0])), ((k - 1) / (k + 1)) ** 20, rtol=1e-12)
    np.testing.assert_allclose([i.step_size for i in infos], 2 / (1 + k), rtol=1e-12)
    for before, after in itertools.pairwise(infos):
        np.testing.assert_allclose(before.predicted_decrease, after.realised_decrease, rtol=1e-12)


def test_the_sign_of_the_direction_does_not_matter():
    start = jnp.array([1.0, -2.0])
    down, _ = run(downhill(scale_by_quadratic_linesearch()), parabola, start)
    up, (info,) = run(optax.chain(optax.identity(), scale_by_quadratic_linesearch()), parabola, start)
    assert up.tolist() == down.tolist()
    assert info.ascent
    assert info.step_taken < 0


def test_no_minimum_along_the_line():
    def saddle(w):
        return w[0] ** 2 - w[1] ** 2

    start = jnp.array([0.0, 1.0])
    for sign in (-1.0, 1.0):  # turned round where the direction leads uphill
        tx = optax.chain(optax.scale(sign), scale_by_quadratic_linesearch(0.125))
        params, (info,) = run(tx, saddle, start)
        assert params.tolist() == [0.0, 1.25]
        assert info.nonpositive_curvature
        assert np.isnan([info.step_size, info.relative_step, info.normalised_step]).all()
    tx = downhill(scale_by_quadratic_linesearch(0.125, damping=6.0))  # 6 - 2 = 4
    params, (info,) = run(tx, saddle, start)
    assert params.tolist() == [0.0, 1.5]
    assert not info.nonpositive_curvature


def test_a_zero_direction_moves_nothing():
    params, (info,) = run(downhill(scale_by_quadratic_linesearch()), parabola, jnp.array([3.0]))
    assert params.tolist() == [3.0]
    assert info.zero_direction
    assert info.ascent
    assert not info.nonfinite


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_moves_nothing(bad):
    def loss(w):
        return jnp.where(w[0] > 5, bad * w[0] ** 2, (w**2).sum())

    params, (info,) = run(downhill(scale_by_quadratic_linesearch()), loss, jnp.array([6.0, 1.0]))
    assert params.tolist() == [6.0, 1.0]
    assert info.nonfinite
    tx = scale_by_quadratic_linesearch()
    start = jnp.ones(2)
    steps, state = tx.update(start, tx.init(start), start, value=bad, grad=start, value_fn=lambda w: (w**2).sum())
    assert steps.tolist() == [0, 0]
    assert state.info.nonfinite


def test_relaxation_and_bound():
    start = jnp.array([1.0])
    half, (info,) = run(downhill(scale_by_quadratic_linesearch(relaxation=0.5)), parabola, start)
    assert half.tolist() == [2.0]
    assert (info.step_size, info.step_taken, info.normalised_step) == (0.25, 0.125, -0.5)
    over, (info,) = run(downhill(scale_by_quadratic_linesearch(relaxation=2.0)), parabola, start)
    assert over.tolist() == [5.0]  # as high as it began
    assert (info.normalised_step, info.predicted_decrease) == (1, 0)
    bounded, (info,) = run(downhill(scale_by_quadratic_linesearch(max_step=0.0625)), parabola, start)
    assert bounded.tolist() == [1.5]
    assert info.normalised_step == -0.75
    scheduled = scale_by_quadratic_linesearch(relaxation=lambda count: 1.0 / (count + 2))
    _, infos = run(downhill(scheduled), parabola, start, steps=2)
    assert [i.step_taken for i in infos] == [0.25 / 2, np.float32(0.25) * np.float32(1 / 3)]


def quartic(w):
    return (w**4).sum()


@pytest.mark.thorough
def test_a_step_is_used_again():
    start = jnp.array([1.0, 2.0])
    _, infos = run(downhill(scale_by_quadratic_linesearch(every=3)), quartic, start, steps=7)
    assert [bool(i.measured) for i in infos] == [True, False, False, True, False, False, True]
    steps = [float(i.step_taken) for i in infos]
    assert steps[0] == steps[1] == steps[2] != steps[3] == steps[4] == steps[5] != steps[6]
    _, now = run(downhill(scale_by_quadratic_linesearch()), quartic, start, steps=1)
    assert float(now[0].step_taken) == steps[0]


def test_after_a_failed_measurement_the_last_good_step_is_used():
    def update(count, state, value):
        w = jnp.array([1.0])
        return tx.update(-w, state._replace(count=jnp.int32(count)), w, value=value, grad=4 * w, value_fn=quartic)

    tx = scale_by_quadratic_linesearch(0.125, every=2)
    updates, state = update(0, tx.init(jnp.ones(1)), jnp.nan)
    assert updates.tolist() == [0.0]
    updates, state = update(1, state, 1.0)  # there is no good step yet
    assert updates.tolist() == [-0.125]
    assert not state.info.nonfinite
    _, state = update(2, state, 1.0)
    good = state.info.step_taken
    assert good == np.float32(1 / 3)
    updates, state = update(4, state, jnp.inf)
    assert updates.tolist() == [0.0]
    updates, state = update(5, state, 1.0)
    assert updates.tolist() == [-good]


@pytest.mark.parametrize("rule", [scale_by_quadratic_linesearch, observe_quadratic_step])
def test_an_uphill_direction_is_the_negative_of_d(rule):
    start = jnp.array([1.0, -2.0])
    _, expected = run(downhill(rule(0.1)), quartic, start, steps=3)
    negated = optax.chain(optax.identity(), rule(0.1, uphill=True))
    if rule is observe_quadratic_step:
        negated = optax.chain(rule(0.1, uphill=True), optax.scale(-1.0))
    state, params = negated.init(start), start
    for of_step in expected:
        value, grad = jax.value_and_grad(quartic)(params)
        updates, state = negated.update(grad, state, params, value=value, grad=grad, value_fn=quartic)
        params = optax.apply_updates(params, updates)
        found = state[rule is scale_by_quadratic_linesearch].info
        np.testing.assert_array_equal(np.array(found), np.array(of_step))


def test_a_curvature_too_small_to_divide_by_is_no_curvature():
    def almost_a_line(w):
        return 1e3 * w[0] + 1e-38 * w[0] ** 2

    w, one = jnp.zeros(1), jnp.ones(1)
    tx = scale_by_quadratic_linesearch(0.5)
    updates, state = tx.update(-one, tx.init(w), w, value=0.0, grad=1e3 * one, value_fn=almost_a_line)
    assert updates.tolist() == [-0.5]
    assert np.isnan(state.info.step_size)
    assert not state.info.nonfinite


def test_extra_arguments_reach_the_functions_that_name_them():
    def loss(w, x, y):
        return ((x * w - y) ** 2).sum()

    w, x, y = jnp.array([1.0]), jnp.array([2.0]), jnp.array([6.0])
    value, grad = jax.value_and_grad(loss)(w, x, y)
    extra = {"value": value, "grad": grad, "value_fn": loss, "x": x, "y": y, "for_another_stage": 0}
    tx = downhill(scale_by_quadratic_linesearch())
    updates, _ = tx.update(grad, tx.init(w), w, **extra)
    assert updates.tolist() == [2.0]
    part, _ = tx.update(grad, tx.init(w), w, **extra, curvature_fn=lambda w, y: (w**2 * y).sum())
    assert part.tolist() == [np.float32(16 / 12)]


def test_curvature_of_a_part_of_the_batch():
    def part(w):
        return 4.0 * (w**2).sum()

    _, (info,) = run(downhill(scale_by_quadratic_linesearch()), parabola, jnp.array([1.0]), curvature_fn=part)
    assert (info.slope, info.curvature) == (-64, 8 * 64)


def test_gauss_newton_curvature():
    def outputs(w):
        return w**2

    def loss(z):
        return ((z - 4.0) ** 2).sum() / 2

    def gauss_newton(value_fn, params, d):
        return funcsgd.curvature.gauss_newton_curvature(outputs, loss, params, d)

    tx = downhill(scale_by_quadratic_linesearch(curvature=gauss_newton))
    params, _ = run(tx, lambda w: loss(outputs(w)), jnp.array([1.0]))
    assert params.tolist() == [2.5]  # Gauss-Newton's (4 - 1) / 2 beyond 1; the Hessian is negative there
    _, (info,) = run(downhill(scale_by_quadratic_linesearch()), lambda w: loss(outputs(w)), jnp.array([1.0]))
    assert info.nonpositive_curvature


@pytest.mark.parametrize("stage", [funcsgd.add_momentum(0.9), optax.scale_by_adam(), optax.ema(0.5)])
def test_the_direction_is_what_the_stages_before_have_made(stage):
    params = jnp.array([1.0, 0.5])
    tx = optax.chain(stage, optax.scale(-1.0), scale_by_quadratic_linesearch())
    state, alone = tx.init(params), stage.init(params)
    for _ in range(10):
        value, grad = jax.value_and_grad(quartic)(params)
        d, alone = stage.update(grad, alone, params)
        found = funcsgd.curvature.directional_derivatives(quartic, params, -d)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=quartic)
        np.testing.assert_allclose(updates, d * found.slope / found.curvature, rtol=1e-5)
        params = optax.apply_updates(params, updates)
    assert quartic(params) < 0.1 * 1.0625


def test_observation_changes_no_bit_and_measures_the_same():
    start = jnp.array([1.0, 2.0])
    rate = 0.01
    observed = optax.chain(funcsgd.sgd(rate, momentum=0.9), observe_quadratic_step(rate))
    bare = optax.chain(funcsgd.sgd(rate, momentum=0.9), optax.identity())

    @functools.partial(jax.jit, static_argnums=0)
    def step(tx, params, state):
        value, grad = jax.value_and_grad(quartic)(params)
        extra = {"value": value, "grad": grad, "value_fn": quartic}
        updates, state = optax.with_extra_args_support(tx).update(grad, state, params, **extra)
        return optax.apply_updates(params, updates), state

    params, expected = start, start
    state, bare_state = observed.init(params), bare.init(params)
    for _ in range(20):
        grad, before = jax.grad(quartic)(params), params
        params, state = step(observed, params, state)
        expected, bare_state = step(bare, expected, bare_state)
        assert params.tobytes() == expected.tobytes()
        info = state[1].info
        d = (params - before) / rate
        found = funcsgd.curvature.directional_derivatives(quartic, before, d)
        np.testing.assert_allclose(info.step_size, -found.slope / found.curvature, rtol=1e-3)
        np.testing.assert_allclose(info.slope, d @ grad, rtol=1e-3)
        assert info.step_taken == np.float32(rate)
        np.testing.assert_allclose(info.relative_step, info.step_size / rate, rtol=1e-6)
        np.testing.assert_allclose(info.normalised_step, rate / info.step_size - 1, rtol=1e-5, atol=1e-6)


def test_a_learning_rate_of_zero_has_no_direction():
    schedule = optax.linear_schedule(0.1, 0.0, 1)
    tx = optax.chain(optax.sgd(schedule), observe_quadratic_step(schedule))
    _, infos = run(tx, quartic, jnp.array([1.0]), steps=2)
    assert [bool(i.zero_direction) for i in infos] == [False, True]
    assert not infos[1].nonfinite


def test_gradients_of_none_are_left_alone():
    params = {"moves": jnp.array([1.0]), "stays": jnp.array([2.0])}
    grads = {"moves": jnp.array([-8.0]), "stays": None}

    def loss(p):
        return parabola(p["moves"]) + 100 * (p["stays"] ** 2).sum()

    tx = scale_by_quadratic_linesearch()
    d = {"moves": jnp.array([8.0]), "stays": None}
    updates, state = tx.update(d, tx.init(params), params, value=loss(params), grad=grads, value_fn=loss)
    assert updates["stays"] is None
    assert state.info.step_size == 0.25


def test_low_precision_parameters_are_measured_in_float32():
    params = jnp.array([1.0, 2.0], jnp.bfloat16)
    tx = downhill(scale_by_quadratic_linesearch())
    after, (info,) = run(tx, parabola, params)
    assert after.dtype == jnp.bfloat16
    assert info.step_size.dtype == jnp.float32
    assert info.step_size == 0.25


def train(tx, start, steps=5):
    def step(carry, _):
        params, state = carry
        value, grad = jax.value_and_grad(quartic)(params)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=quartic)
        return (optax.apply_updates(params, updates), state), state[-1].info.step_taken

    return jax.lax.scan(step, (start, tx.init(start)), length=steps)


@pytest.mark.parametrize("every", [1, 2])
def test_jit_scan_and_vmap(every):
    tx = downhill(scale_by_quadratic_linesearch(every=every))
    starts = jnp.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.1]])
    (alone, _), steps = jax.jit(lambda start: train(tx, start))(starts[1])
    (together, _), all_steps = jax.jit(jax.vmap(lambda start: train(tx, start)))(starts)
    np.testing.assert_allclose(together[1], alone, rtol=1e-6)
    np.testing.assert_allclose(all_steps[1], steps, rtol=1e-6)
    first = jax.vmap(lambda r: train(downhill(scale_by_quadratic_linesearch(relaxation=r)), starts[1])[1][0])
    np.testing.assert_allclose(first(jnp.array([0.5, 1.0])), steps[0] * np.array([0.5, 1.0]), rtol=1e-6)


def test_under_vmap_a_step_that_is_used_again_is_not_measured():
    starts, tx = jnp.ones((3, 2)), downhill(scale_by_quadratic_linesearch(every=2))
    assert str(jax.make_jaxpr(jax.vmap(lambda start: train(tx, start)))(starts)).count("cond[") == 1
    states = jax.vmap(tx.init)(starts)

    def one(params, state):
        return tx.update(params, state, params, value=quartic(params), grad=params, value_fn=quartic)

    assert "cond[" not in str(jax.make_jaxpr(jax.vmap(one))(starts, states))  # a batched count: both sides run


def operations(function, *args):
    return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]


@pytest.mark.thorough
@pytest.mark.parametrize("network", [mlp, convolutional], ids=lambda network: network.__name__)
def test_the_forward_pass_is_shared_with_the_gradient(network):
    """What makes it cheap is the compiler's: gradient and curvature repeat the forward pass, and it is made once."""
    params, _, x, y = drawn(network, 0)
    tx = scale_by_quadratic_linesearch(uphill=True)

    def loss(p):
        return network(p, x, y, JAX)

    def step(p, factor=1):
        value, grad = jax.value_and_grad(loss)(p)
        value_fn = loss if factor == 1 else lambda p: loss({name: factor * leaf for name, leaf in p.items()})
        return tx.update(grad, tx.init(p), p, value=value, grad=grad, value_fn=value_fn)

    forward, gradient = operations(loss, params), operations(jax.value_and_grad(loss), params)
    line = operations(lambda p, d: funcsgd.curvature.directional_derivatives(loss, p, d), params, params)
    shared = operations(step, params)
    assert shared < gradient + line - 0.8 * forward
    assert operations(lambda p: step(p, 0.5), params) > shared + 0.8 * forward  # elsewhere there is nothing to share


def test_the_state_never_changes_its_type():
    tx = downhill(scale_by_quadratic_linesearch(every=2))
    params = jnp.array([1.0, 2.0])
    state = tx.init(params)
    value, grad = jax.value_and_grad(quartic)(params)
    _, new = tx.update(grad, state, params, value=value, grad=grad, value_fn=quartic)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert [x.dtype for x in jax.tree.leaves(new)] == [x.dtype for x in jax.tree.leaves(state)]


def test_injected_hyperparameters_are_arrays_and_can_be_set():
    tx = optax.inject_hyperparams(scale_by_quadratic_linesearch)(relaxation=0.5, max_step=10.0, every=2, uphill=True)
    params, traces = jnp.array([1.0]), []

    @jax.jit
    def step(params, state):
        traces.append(1)
        value, grad = jax.value_and_grad(parabola)(params)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=parabola)
        return optax.apply_updates(params, updates), state

    params, state = step(params, tx.init(params))
    assert params.tolist() == [2.0]
    state.hyperparams["every"] = jnp.array(1, jnp.int32, copy=True)
    state.hyperparams["relaxation"] = jnp.array(1.0)
    params, state = step(params, state)
    assert params.tolist() == [3.0]
    assert state.inner_state.info.measured


def test_the_first_state_can_be_donated():
    tx = downhill(scale_by_quadratic_linesearch())
    params = jnp.array([1.0, 2.0])

    def step(params, state):
        value, grad = jax.value_and_grad(quartic)(params)
        return tx.update(grad, state, params, value=value, grad=grad, value_fn=quartic)

    jax.jit(step, donate_argnums=1)(params, tx.init(params))


def test_it_lowers_for_every_platform():
    program = jax.jit(lambda start: train(downhill(scale_by_quadratic_linesearch(every=2)), start)[0][0])
    made = export.export(program, platforms=("cpu", "cuda", "rocm", "tpu"))(jnp.ones(3))
    np.testing.assert_allclose(made.call(jnp.ones(3)), program(jnp.ones(3)), rtol=1e-6)


def test_flax_optimizer_forwards_what_it_needs():
    from flax import nnx

    model = nnx.Linear(3, 1, rngs=nnx.Rngs(0))
    x, y = jnp.eye(3), jnp.array([[1.0], [2.0], [3.0]])
    optimizer = nnx.Optimizer(model, downhill(scale_by_quadratic_linesearch()), wrt=nnx.Param)
    graph, _ = nnx.split(model)

    def value_fn(params):
        return ((nnx.merge(graph, params)(x) - y) ** 2).mean()

    for _ in range(40):
        value, grad = nnx.value_and_grad(lambda model: ((model(x) - y) ** 2).mean())(model)
        optimizer.update(model, grad, value=value, grad=grad, value_fn=value_fn)
    assert value_fn(nnx.state(model, nnx.Param)) < 1e-6


def test_train_state_with_the_documented_subclass():
    from flax.training.train_state import TrainState

    class State(TrainState):
        def apply_gradients(self, *, grads, **extra_args):
            updates, opt_state = self.tx.update(grads, self.opt_state, self.params, **extra_args)
            params = optax.apply_updates(self.params, updates)
            return self.replace(step=self.step + 1, params=params, opt_state=opt_state)

    tx = downhill(scale_by_quadratic_linesearch())
    start = {"w": jnp.array([1.0])}

    def loss(p):
        return parabola(p["w"])

    value, grads = jax.value_and_grad(loss)(start)
    state = State.create(apply_fn=None, params=start, tx=tx)
    state = state.apply_gradients(grads=grads, value=value, grad=grads, value_fn=loss)
    assert state.params["w"].tolist() == [3.0]
    with pytest.raises(ValueError, match=r"needs value, grad, value_fn: call tx\.update"):
        TrainState.create(apply_fn=None, params=start, tx=tx).apply_gradients(grads=grads)


def test_has_aux_steps_as_the_value_alone_and_is_named_where_it_is_missing():
    start = jnp.array([1.0, -2.0])

    def with_aux(w):
        return parabola(w), {"seen": w}

    def step(value_fn, **options):
        tx = downhill(scale_by_quadratic_linesearch(**options))
        value, grad = jax.value_and_grad(parabola)(start)
        return tx.update(grad, tx.init(start), start, value=value, grad=grad, value_fn=value_fn)[0]

    assert step(with_aux, has_aux=True).tolist() == step(parabola).tolist()
    with pytest.raises(TypeError, match=r"must return a scalar.*: use scale_by_.*has_aux=True"):
        step(with_aux)
    with pytest.raises(TypeError, match=r"must return \(value, aux\).*has_aux=False"):
        step(parabola, has_aux=True)


def test_a_loss_with_a_backward_rule_alone():
    @jax.custom_vjp
    def square(w):
        return jnp.sum(w * w)

    square.defvjp(lambda w: (jnp.sum(w * w), w), lambda w, ct: (2 * w * ct,))
    start, grad = jnp.array([3.0, 1.0]), jnp.array([6.0, 2.0])

    def step(rule):
        tx = downhill(rule)
        return tx.update(grad, tx.init(start), start, value=square(start), grad=grad, value_fn=square)[0]

    reverse = functools.partial(funcsgd.curvature.directional_curvature, mode="forward_over_reverse")
    assert step(scale_by_quadratic_linesearch(curvature=reverse)).tolist() == [-3.0, -1.0]
    with pytest.raises(NotImplementedError) as refusal:
        step(scale_by_quadratic_linesearch())
    assert "curvature=functools.partial(funcsgd.curvature.directional_curvature" in " ".join(refusal.value.__notes__)


@pytest.mark.parametrize("rule", [scale_by_quadratic_linesearch, observe_quadratic_step])
def test_inside_a_partition_it_is_refused_and_behind_one_it_measures(rule):
    params = {"w": jnp.array([1.0, -2.0]), "b": jnp.array([0.5])}

    def loss(p):
        return parabola(p["w"]) + jnp.sum(p["b"] ** 2)

    def update(tx):
        value, grad = jax.value_and_grad(loss)(params)
        tx = optax.with_extra_args_support(tx)
        return tx.update(grad, tx.init(params), params, value=value, grad=grad, value_fn=loss)[0]

    labels = {"w": "searched", "b": "plain"}
    parts = {"searched": optax.scale(-1.0), "plain": optax.scale(-0.5)}
    with pytest.raises(ValueError, match=r"receives a part of the parameters only.*put it behind the optax\.partition"):
        update(optax.partition({**parts, "searched": optax.chain(optax.scale(-1.0), rule())}, labels))
    moved = update(optax.chain(optax.partition(parts, labels), rule()))
    assert loss(optax.apply_updates(params, moved)) < loss(params) or rule is observe_quadratic_step


def test_refusals():
    with pytest.raises(ValueError, match="Invalid relaxation: -1"):
        scale_by_quadratic_linesearch(relaxation=-1.0)
    with pytest.raises(ValueError, match="Invalid max_step: -1"):
        scale_by_quadratic_linesearch(max_step=-1.0)
    with pytest.raises(ValueError, match="every must be at least 1, but is 0"):
        observe_quadratic_step(every=0)
    with pytest.raises(ValueError, match="damping must be 1-element"):
        scale_by_quadratic_linesearch(damping=jnp.ones(2))
    tx = observe_quadratic_step()
    w = jnp.ones(1)
    with pytest.raises(ValueError, match=r"observe_quadratic_step needs params, value_fn: call tx\.update"):
        tx.update(w, tx.init(w), value=1.0, grad=w)


SHARDED = """
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from funcsgd.curvature import scale_by_quadratic_linesearch
assert jax.device_count() == 8
rng = np.random.default_rng(0)
w, x, y = (jnp.array(rng.normal(size=size)) for size in ((16, 8), (64, 16), (64, 8)))
tx = optax.chain(optax.scale(-1.0), scale_by_quadratic_linesearch())

@jax.jit
def step(w, state, x, y):
    def loss(w):
        return ((jnp.tanh(x @ w) - y) ** 2).mean()
    value, grad = jax.value_and_grad(loss)(w)
    updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=loss)
    return optax.apply_updates(w, updates), state

mesh = Mesh(np.array(jax.devices()), ("d",))
one, state = step(w, tx.init(w), x, y)
for of_w, of_x in ((P(), P("d")), (P("d"), P()), (P(None, "d"), P("d"))):
    placed = jax.device_put(w, NamedSharding(mesh, of_w))
    batch = jax.device_put((x, y), NamedSharding(mesh, of_x))
    many, sharded = step(placed, tx.init(placed), *batch)
    np.testing.assert_allclose(many, one, rtol=1e-10, atol=1e-10)  # float64
    np.testing.assert_allclose(sharded[1].info.step_size, state[1].info.step_size, rtol=1e-10)
"""


@pytest.mark.thorough
def test_sharded_over_eight_devices():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}
    environment = {**os.environ, **flags}
    command = [sys.executable, "-W", "error", "-c", SHARDED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
