"""An optimizer and its average in one program, against torch's two calls."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from torch.optim import swa_utils

from funcsgd import add_momentum, clip_grad_norm, sgd
from funcsgd.averages import averaged_params, ema, swa, with_average
from tests.support.sampling import one_in

SHAPES = ((1,), (7,), (8,), (33,), (64, 33), (4099,))
AVERAGES = {
    "ema": (ema(0.99), {"avg_fn": swa_utils.get_ema_avg_fn(0.99)}),
    "weights spelled out": (ema(0.99, 0.01), {"avg_fn": lambda avg, param, _: 0.99 * avg + 0.01 * param}),
    "ema, lerp": (ema(0.99, lerp=True), {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.99)}),
    "swa": (swa(), {}),
    "swa, lerp": (swa(lerp=True), {"multi_avg_fn": swa_utils.get_swa_multi_avg_fn()}),
}
OPTIONS = {"momentum": 0.9, "weight_decay": 1e-2, "nesterov": True}


def problem(n_steps, dtype, shapes=SHAPES):
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    return start, [rng.normal(size=(n_steps, *shape)).astype(dtype) for shape in shapes]


def ours(tx, start, gradients):
    """Parameters and state after all steps, in one program."""

    def step(carry, g):
        params, state = carry
        updates, state = tx.update(g, state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.jit(lambda p, g: jax.lax.scan(step, (p, tx.init(p)), g)[0])(start, gradients)


def theirs(options, start, gradients, max_norm=None):
    """The parameters and the average that torch's script ends with."""
    model = torch.nn.Module()
    for i, x in enumerate(start):
        model.register_parameter(str(i), torch.nn.Parameter(torch.from_numpy(x.copy())))
    averaged, optimizer = swa_utils.AveragedModel(model, **options), torch.optim.SGD(model.parameters(), 0.1, **OPTIONS)
    for t in range(len(gradients[0])):
        for parameter, g in zip(model.parameters(), gradients, strict=True):
            parameter.grad = torch.from_numpy(g[t].copy())
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
        averaged.update_parameters(model)
    return list(model.parameters()), list(averaged.module.parameters())


def differing(mine, torchs):
    return sum(int((np.asarray(a) != b.detach().numpy()).sum()) for a, b in zip(mine, torchs, strict=True))


def test_two_steps_by_hand():
    tx = with_average(sgd(0.5), ema(0.75))
    params, state = ours(tx, jnp.array([4.0]), jnp.array([[4.0], [2.0]]))  # 4 - 2 = 2, then 2 - 1 = 1
    assert (params.tolist(), averaged_params(state).tolist()) == ([1.0], [0.75 * 2 + 0.25 * 1])


def test_the_updates_are_the_optimizers_own():
    start, gradients = problem(5, "float32", ((33,),))
    plain, _ = ours(sgd(0.1, **OPTIONS), start, gradients)
    averaged, _ = ours(with_average(sgd(0.1, **OPTIONS), ema()), start, gradients)
    assert (plain[0] == averaged[0]).all()


def test_parameters_are_needed():
    tx = with_average(sgd(0.1), ema())
    with pytest.raises(ValueError, match="with_average needs the parameters"):
        tx.update(jnp.ones(1), tx.init(jnp.ones(1)))


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("case", one_in(2, AVERAGES))
def test_equal_to_torchs_script_over_a_thousand_steps(x64, case, dtype):
    average, options = AVERAGES[case]
    start, gradients = problem(1000, dtype)
    params, state = ours(with_average(sgd(0.1, **OPTIONS), average), start, gradients)
    their_params, their_average = theirs(options, start, gradients)
    assert differing(params, their_params) == 0
    assert differing(averaged_params(state), their_average) == 0


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_whole_recipe_with_clipping_equals_torchs(x64, dtype):
    start, gradients = problem(1000, dtype)
    tx = optax.chain(clip_grad_norm(50.0), sgd(0.1, **OPTIONS))
    params, state = ours(with_average(tx, ema(0.99)), start, gradients)
    their_params, their_average = theirs(AVERAGES["ema"][1], start, gradients, max_norm=50.0)
    assert differing(params, their_params) == 0
    assert differing(averaged_params(state), their_average) == 0


@pytest.mark.parametrize("average", [ema(0.9), ema(0.9, lerp=True), swa()])
def test_a_step_at_a_time_averages_the_bits_that_apply_updates_makes(average):
    """The updates leave the program too, which is where the product could be rounded on its own."""
    start, gradients = problem(20, "float32", ((1001,), (3, 5)))
    tx = with_average(sgd(0.1, **OPTIONS), average)

    @jax.jit
    def step(params, state, g):
        updates, state = tx.update(g, state, params)
        return optax.apply_updates(params, updates), updates, state

    params, state, follower = start, tx.init(start), average.init(start)
    for t in range(20):
        params, _, state = step(params, state, [g[t] for g in gradients])
        follower = jax.jit(average.update)(params, follower)
    assert all((a == b).all() for a, b in zip(averaged_params(state), follower.average, strict=True))


def test_runs_side_by_side_under_vmap_equal_runs_alone():
    start, gradients = problem(30, "float32", ((33,), (8,)))

    def run(lr, decay):
        return averaged_params(ours(with_average(sgd(lr, 0.9), ema(decay, 0.01)), start, gradients)[1])

    together = jax.jit(jax.vmap(run))(jnp.array([0.1, 0.2]), jnp.array([0.9, 0.99]))
    for i, (lr, decay) in enumerate([(0.1, 0.9), (0.2, 0.99)]):
        alone = run(jnp.float32(lr), jnp.float32(decay))
        assert all((a[i] == b).all() for a, b in zip(together, alone, strict=True))


PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}
NESTS = {
    "alone": with_average(sgd(0.1), ema()),
    "chain": optax.chain(clip_grad_norm(1.0), with_average(sgd(0.1), ema())),
    "inject_hyperparams": optax.inject_hyperparams(lambda decay: with_average(sgd(0.1), ema(decay)))(0.9),
    "MultiSteps inside": with_average(optax.MultiSteps(sgd(0.1), 2), ema()),
    "MultiSteps": optax.MultiSteps(with_average(sgd(0.1), ema()), 2),
    "apply_if_finite": optax.apply_if_finite(with_average(sgd(0.1), ema()), 3),
    "partition": optax.partition(
        {"a": with_average(sgd(0.1), ema()), "b": with_average(sgd(0.2), swa())}, {"w": "a", "b": "b"}
    ),
}


@pytest.mark.parametrize("nest", NESTS)
def test_the_average_is_found_in_any_state(nest):
    tx = NESTS[nest]
    state = tx.init(PARAMS)
    _, state = jax.jit(tx.update)(PARAMS, state, PARAMS)
    found = averaged_params(state)
    assert jax.tree.map(jnp.shape, found) == {"w": (2, 3), "b": (3,)}


def test_parameters_stand_in_where_no_average_is():
    tx = optax.partition({"a": with_average(sgd(0.1), ema()), "b": sgd(0.2)}, {"w": "a", "b": "b"})
    state = tx.init(PARAMS)
    with pytest.raises(ValueError, match="some parameters are in no average"):
        averaged_params(state)
    found = averaged_params(state, {"w": jnp.zeros((2, 3)), "b": jnp.full(3, 7.0)})
    assert (found["w"].tolist(), found["b"].tolist()) == ([[1.0] * 3] * 2, [7.0] * 3)


def test_two_averages_come_as_a_list():
    both = with_average(with_average(sgd(0.1), ema()), swa())
    assert len(averaged_params(both.init(PARAMS))) == 2


def test_a_state_without_an_average_is_refused():
    with pytest.raises(ValueError, match=r"wrap the optimizer in funcsgd\.averages\.with_average"):
        averaged_params(add_momentum(0.9).init(PARAMS))


def test_an_average_of_the_parameters_before_the_update_would_be_found():
    start, gradients = problem(10, "float32", ((1001,),))
    _, state = ours(with_average(sgd(0.1), ema(0.9)), start, gradients)
    late = optax.chain(sgd(0.1), with_average(optax.scale(0.0), ema(0.9)))
    _, fault = ours(late, start, gradients)
    assert (averaged_params(state)[0] != averaged_params(fault)[0]).sum() > 900


def test_exports_for_every_platform():
    tx = with_average(sgd(0.1, 0.9), ema())
    state = tx.init(PARAMS)
    exported = jax.export.export(jax.jit(tx.update), platforms=("cpu", "cuda", "rocm", "tpu"))(PARAMS, state, PARAMS)
    assert exported.platforms == ("cpu", "cuda", "rocm", "tpu")
