"""Loops of the user's own, recorded in JAX and compared with torch's run, bit by bit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx

import funcsgd
import torch_bridge
from tests.support.small_run import DATA, loss_fn, recorded
from torch_bridge.replaying.batches import indices_of
from torch_bridge.trace.keep import Keep

RULE = funcsgd.sgd(0.1, 0.9, weight_decay=1e-2)


@pytest.fixture(scope="module")
def trace():
    return recorded()


def start_of(trace):
    return {name: jnp.asarray(trace.initial[f"parameter/{name}"]) for name in trace.static["shapes"]}


def own_loop(trace, tx, gradient_of, like, **options):
    params = start_of(trace)
    state = tx.init(params)
    recorder = torch_bridge.JaxRecorder(params, state, like=like, **options)

    @jax.jit
    def update(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for t in range(trace.n_steps):
        loss, grads = gradient_of(t, params)
        params, state = update(params, state, grads)
        indices = indices_of(trace.step(t))
        recorder.step(params=params, grads=grads, loss=loss, opt_state=state, indices=indices, learning_rate=0.1)
    return recorder


def torchs_gradient(trace):
    def of(t, params):
        return trace.steps["loss"][t], {name: trace.steps[f"gradient/{name}"][t] for name in params}

    return of


@pytest.mark.parametrize("keep", [None, Keep("digest", every=4), Keep("ring", last=2)])
def test_a_loop_on_torchs_gradients_is_torchs_run(trace, tmp_path, keep):
    path = tmp_path / "jax.trace" if keep else None
    recorder = own_loop(trace, RULE, torchs_gradient(trace), trace, keep=keep, path=path)
    if path is None:
        recorder.save(tmp_path / "jax.trace")
    recorder.close()
    assert torch_bridge.Trace.load(tmp_path / "jax.trace").complete
    comparison = torch_bridge.compare(trace, torch_bridge.Trace.load(tmp_path / "jax.trace"))
    assert comparison.identical, comparison
    phases = {row.phase for row in comparison.rows}
    assert phases == {"data", "loss", "gradient", "momentum_buffer", "learning_rate", "parameter"}


def test_a_loop_of_its_own_differs_by_rounding_and_a_fault_is_seen(trace):
    def gradient_of(t, params):
        x, y = (array[indices_of(trace.step(t))] for array in DATA)
        return jax.value_and_grad(loss_fn)(params, (x, y))

    run = own_loop(trace, RULE, gradient_of, "torch.optim.sgd.SGD").trace()
    first = torch_bridge.compare(trace, run).first
    assert first.step == 0
    assert first.phase in ("loss", "gradient")
    faulty = own_loop(trace, funcsgd.sgd(0.1, 0.8, weight_decay=1e-2), torchs_gradient(trace), trace).trace()
    first = torch_bridge.compare(trace, faulty).first
    assert (first.step, first.phase) == (1, "momentum_buffer")


def test_plain_adam_in_flaxs_optimizer_is_named_as_torch_names_it():
    torch.manual_seed(0)
    original = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(original.parameters(), lr=0.01)
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    model.kernel[...], model.bias[...] = original.weight.detach().numpy().T, original.bias.detach().numpy()
    weights = torch_bridge.map_weights(original, nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    ours = nnx.Optimizer(model, optax.adam(0.01), wrt=nnx.Param)
    x = torch.randn(5, 3)

    def pure(state):
        return nnx.to_pure_dict(state)

    def moments(state):
        state = state[0]
        return optax.ScaleByAdamState(state.count[...], pure(state.mu), pure(state.nu))

    with torch_bridge.record(original, optimizer, twins=False) as recorder:
        jax_recorder = torch_bridge.JaxRecorder(
            pure(nnx.state(model, nnx.Param)), moments(ours.opt_state), like="torch.optim.adam.Adam", weights=weights
        )
        for _ in range(3):
            optimizer.zero_grad()
            original(x).square().mean().backward()
            optimizer.step()
            grads = nnx.grad(lambda m: (m(x.numpy()) ** 2).mean())(model)
            ours.update(model, grads)
            jax_recorder.step(
                params=pure(nnx.state(model, nnx.Param)), grads=pure(grads), opt_state=moments(ours.opt_state)
            )
    trace, run = recorder.trace(), jax_recorder.trace()
    for key in ("gradient/weight", "exp_avg/weight", "exp_avg_sq/bias", "parameter/weight"):
        np.testing.assert_allclose(run.steps[key], trace.steps[key], rtol=1e-4, atol=1e-7)
    assert run.steps["step/bias"].tolist() == [1, 2, 3]


def test_what_cannot_be_recorded_is_refused(trace):
    with pytest.raises(ValueError, match="give weights="):
        torch_bridge.JaxRecorder([jnp.ones(2)], like=trace)
    with pytest.raises(ValueError, match=r"like='Adam' is no optimizer with an adapter here: .*torch.optim.sgd.SGD"):
        torch_bridge.JaxRecorder(start_of(trace), like="Adam")
    with pytest.raises(ValueError, match="nothing was recorded"):
        torch_bridge.JaxRecorder(start_of(trace), like=trace).trace()


def test_a_model_state_is_named_as_torchs_buffers():
    torch.manual_seed(0)
    original = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.SGD(original.parameters(), lr=0.1)
    with torch_bridge.record(original, optimizer, twins=False) as recorder:
        for _ in range(2):
            optimizer.zero_grad()
            original(torch.randn(5, 3)).square().mean().backward()
            optimizer.step()
    trace = recorder.trace()
    first = {key.removeprefix("buffer/"): value for key, value in trace.initial.items() if key.startswith("buffer/")}
    stats = {"norm": {"mean": jnp.zeros(4), "var": jnp.ones(4)}}
    buffers = torch_bridge.map_weights(first, stats)
    jax_recorder = torch_bridge.JaxRecorder(start_of(trace), None, stats, like=trace, buffers=buffers)
    for t in range(2):
        stats = {
            "norm": {"mean": trace.value("buffer/1.running_mean", t), "var": trace.value("buffer/1.running_var", t)}
        }
        params = {name: trace.value(f"parameter/{name}", t) for name in trace.static["shapes"]}
        jax_recorder.step(params=params, model_state=stats)
    run = jax_recorder.trace()
    assert torch_bridge.compare(trace, run).identical
    assert {"buffer/1.running_mean", "buffer/1.running_var"} <= set(run.steps) & set(run.initial)
    with pytest.raises(ValueError, match=r"model_state is a list, .*: give buffers="):
        torch_bridge.JaxRecorder(start_of(trace), None, [jnp.zeros(4)], like=trace)
    named = torch_bridge.JaxRecorder(start_of(trace), None, {"1.num_batches_tracked": jnp.int32(0)}, like=trace)
    named.step(params=start_of(trace), model_state={"1.num_batches_tracked": jnp.int32(1)})
    assert named.trace().steps["buffer/1.num_batches_tracked"].dtype == np.int64
