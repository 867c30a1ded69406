"""Averages of parameters, against torch's AveragedModel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.optim import swa_utils

from funcsgd import rounded
from funcsgd.averages import ema, swa
from tests.support.sampling import one_in

SHAPES = ((1,), (7,), (8,), (33,), (64, 33), (4099,))
CASES = {  # our average, and what AveragedModel is given
    "ema": (ema(0.99), {"avg_fn": swa_utils.get_ema_avg_fn(0.99)}),
    "ema, weights spelled out": (ema(0.99, 0.01), {"avg_fn": lambda avg, param, _: 0.99 * avg + 0.01 * param}),
    "ema, lerp from the average": (ema(0.99, lerp=True), {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.99)}),
    "ema, lerp from the parameters": (ema(0.3, lerp=True), {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.3)}),
    "swa": (swa(), {}),
    "swa, lerp": (swa(lerp=True), {"multi_avg_fn": swa_utils.get_swa_multi_avg_fn()}),
}


def feed(average, values, init=None):
    state = average.init(values[0] * 0 if init is None else init)
    for value in values:
        state = jax.jit(average.update)(value, state)
    return state


def scanned(average, sequence):
    """The state after an average has followed a tree of stacked parameters, in one program."""
    init = average.init(jax.tree.map(lambda x: jnp.zeros_like(x[0]), sequence))
    return jax.jit(lambda xs: jax.lax.scan(lambda state, x: (average.update(x, state), None), init, xs)[0])(sequence)


def module(tensors):
    made = torch.nn.Module()
    for i, tensor in enumerate(tensors):
        made.register_parameter(str(i), torch.nn.Parameter(tensor.clone(), requires_grad=False))
    return made


def differing(ours, theirs):
    return sum(int((np.asarray(a) != b.detach().numpy()).sum()) for a, b in zip(ours, theirs, strict=True))


def test_ema_by_hand():
    state = feed(ema(0.5), jnp.array([4.0, 8.0]))
    assert (float(state.average), int(state.n_averaged)) == (6.0, 2)


def test_swa_by_hand():
    assert float(feed(swa(), jnp.array([3.0, 6.0, 12.0])).average) == 7.0


def test_a_hand_written_loop_starts_from_the_first_parameters():
    assert float(feed(ema(0.5, copy_first=False), jnp.array([4.0, 8.0]), init=jnp.array(2.0)).average) == 5.5


def test_start_and_every_choose_what_counts():
    values = jnp.arange(1.0, 11.0)  # after 3 passed over, the 5th, 7th and 9th count
    state = feed(swa(start=3, every=2), values)
    assert (float(state.average), int(state.n_averaged), int(state.count)) == (7.0, 3, 10)


def test_until_the_first_counts_the_average_is_where_it_began():
    assert float(feed(swa(start=5), jnp.array([3.0, 6.0]), init=jnp.array(1.0)).average) == 1.0


@pytest.mark.parametrize("average", [ema(), ema(lerp=True), swa(start=2), swa(lerp=True, every=3)])
def test_the_state_keeps_its_tree_shapes_and_dtypes(average):
    params = {"w": jnp.ones((2, 3)), "b": jnp.ones(3, jnp.bfloat16), "absent": None}
    state = average.init(params)
    described = jax.tree.map(lambda x: (x.shape, x.dtype), state)
    for _ in range(4):
        state = average.update(params, state)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == described


def test_parameters_and_state_can_both_be_donated():
    average = ema()
    params = jnp.ones(3)
    step = jax.jit(lambda p, s: (p * 2, average.update(p * 2, s)), donate_argnums=(0, 1))
    _, state = step(params, average.init(params))
    assert state.average.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("decay", [-0.1, 1.1, np.float32(2)])
def test_a_decay_outside_the_interval_is_refused_in_torchs_words(decay):
    with pytest.raises(ValueError, match="Please provide a value in") as theirs:
        swa_utils.get_ema_avg_fn(decay)
    with pytest.raises(ValueError, match="Please provide a value in") as ours:
        ema(decay)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("options", [{"start": -1}, {"every": 0}])
def test_a_count_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match="start >= 0 and every >= 1"):
        swa(**options)


@pytest.mark.parametrize("dtype", one_in(2, ["float32", "float64"]))
@pytest.mark.parametrize("case", CASES)
def test_equal_to_torch_over_a_thousand_updates(x64, case, dtype):
    average, options = CASES[case]
    rng = np.random.default_rng(0)
    sequence = [rng.normal(size=(1000, *shape)).astype(dtype) for shape in SHAPES]
    model = module([torch.from_numpy(x[0]) for x in sequence])
    averaged = swa_utils.AveragedModel(model, **options)
    for t in range(1000):
        for parameter, x in zip(model.parameters(), sequence, strict=True):
            parameter.copy_(torch.from_numpy(x[t]))
        averaged.update_parameters(model)
    state = scanned(average, sequence)
    assert int(state.n_averaged) == int(averaged.n_averaged)
    assert differing(state.average, averaged.module.parameters()) == 0


def test_a_decay_that_depends_on_n_is_evaluated_at_torchs_n(x64):
    """Weights of 1/2, 2/3, ...: an equal average by another name, exact on these numbers."""
    state = feed(ema(lambda n: n / (n + 1.0)), jnp.array([3.0, 6.0, 12.0]))
    assert float(state.average) == pytest.approx(7.0, abs=7 * 3 * np.finfo(float).eps)


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("case", ["ema", "ema, lerp from the average", "swa"])
def test_buffers_are_copied_or_averaged_as_in_torch(x64, case, use_buffers):
    rng = np.random.default_rng(0)
    counts, means = rng.integers(-100, 100, (20, 5)), rng.normal(size=(20, 33)).astype("float32")
    model = module([torch.zeros(1)])
    model.register_buffer("count", torch.zeros(5, dtype=torch.int64))
    model.register_buffer("mean", torch.zeros(33))
    averaged = swa_utils.AveragedModel(model, **CASES[case][1], use_buffers=use_buffers)
    options = {"lerp": "lerp" in case, "use_buffers": use_buffers}
    average = swa(use_buffers=use_buffers) if case == "swa" else ema(0.99, **options)
    update = jax.jit(average.update)
    state = average.init((), (jnp.asarray(counts[0]), jnp.asarray(means[0])))
    for count, mean in zip(counts, means, strict=True):
        model.count.copy_(torch.from_numpy(count))
        model.mean.copy_(torch.from_numpy(mean))
        averaged.update_parameters(model)
        state = update((), state, (jnp.asarray(count), jnp.asarray(mean)))
        assert differing(state.buffers, averaged.module.buffers()) == 0


def test_integers_do_not_lerp_in_an_equal_average():
    model = torch.nn.BatchNorm1d(2)
    averaged = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_swa_multi_avg_fn(), use_buffers=True)
    averaged.update_parameters(model)
    with pytest.raises(RuntimeError, match="Integer division with addcdiv is no longer supported"):
        averaged.update_parameters(model)
    with pytest.raises(TypeError, match="Integer division with addcdiv is no longer supported"):
        feed(swa(lerp=True), jnp.arange(3))


def test_decays_run_side_by_side_under_vmap(x64):
    xs = np.random.default_rng(0).normal(size=(50, 33)).astype("float32")
    decays, weights = np.array([0.9, 0.99, 0.2]), 1 - np.array([0.9, 0.99, 0.2])
    together = jax.jit(jax.vmap(lambda d, w: scanned(ema(d, w, lerp=True), xs).average))(decays, weights)
    alone = [scanned(ema(d, lerp=True), xs).average for d in (0.9, 0.99, 0.2)]
    assert differing(together, [torch.from_numpy(np.array(x)) for x in alone]) == 0


def test_a_product_in_the_same_program_is_rounded_before_it_is_averaged():
    x = jnp.asarray(np.random.default_rng(0).normal(size=1001), jnp.float32)
    for average in (ema(0.9), ema(0.9, lerp=True), swa()):
        state = average.update(x[::-1], average.init(x))
        together = jax.jit(lambda a, b, s, average=average: average.update(a * b, s).average)(x, x[::-1], state)
        apart = jax.jit(average.update)(jax.jit(rounded)(x * x[::-1]), state).average
        assert (together == apart).all()


def test_division_is_a_division_even_by_a_constant():
    x = jnp.asarray(np.random.default_rng(0).normal(size=1001), jnp.float32)
    average = swa()
    known = average.update(x, average.update(x, average.init(x)))  # three sets: the state is a constant of the program
    together = jax.jit(lambda p: average.update(p, known).average)(x[::-1])
    a, n = np.asarray(known.average), np.float32(3)
    assert (np.asarray(together) == a + (np.asarray(x[::-1]) - a) / n).all()


@pytest.mark.parametrize(
    "fault", [ema(0.99, copy_first=False), ema(0.99, 1 - 0.99 + 1e-6), ema(0.99, lerp=True), swa(), ema(0.99, start=1)]
)
def test_planted_faults_are_found(fault):
    xs = np.random.default_rng(0).normal(size=(20, 1001)).astype("float32")
    assert (scanned(fault, xs).average != scanned(ema(0.99), xs).average).sum() > 100


def test_exports_for_every_platform():
    average = ema()
    state = average.init(jnp.ones(9))
    exported = jax.export.export(jax.jit(average.update), platforms=("cpu", "cuda", "rocm", "tpu"))(jnp.ones(9), state)
    assert exported.platforms == ("cpu", "cuda", "rocm", "tpu")
