"""Runs of models that keep something besides parameters: BatchNorm's statistics, dropout's keys."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx

import funcsgd
from funcsgd import averages, curvature, train
from tests.support.training_runs import (
    BATCH,
    assert_same_bits,
    cross_entropy,
    index_batches,
    perceptron,
    recipe,
)

DATA = perceptron().data


class Model(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(64, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, momentum=0.9, use_fast_variance=False, rngs=rngs)
        self.dropout = nnx.Dropout(0.25, rngs=rngs)
        self.last = nnx.Linear(16, 10, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.norm(self.first(x)))))


GRAPH, PARAMS, REST = nnx.split(Model(nnx.Rngs(0)), nnx.Param, ...)


def loss_fn(params, batch, rest):
    model = nnx.merge(GRAPH, params, rest, copy=True)
    return cross_entropy(model(batch[0]), batch[1]), nnx.state(model, nnx.Not(nnx.Param))


def evaluate(params, validation, rest):
    model = nnx.merge(GRAPH, params, rest, copy=True)
    model.eval()
    return cross_entropy(model(validation[0]), validation[1])


def readable(tree):
    """Keys as the numbers that they hold."""
    is_key = lambda x: jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)  # noqa: E731
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def by_hand(tx, batches):
    @jax.jit
    def step(params, state, rest, batch):
        (loss, rest), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, batch, rest)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, rest, loss

    params, state, rest, losses = PARAMS, tx.init(PARAMS), REST, []
    for indices in batches.reshape(-1, BATCH):
        batch = jax.tree.map(lambda x, rows=indices[indices >= 0]: x[rows], DATA)
        params, state, rest, loss = step(params, state, rest, batch)
        losses.append(loss)
    return params, state, readable(rest), jnp.stack(losses)


@pytest.mark.thorough
def test_batch_norm_and_dropout_follow_a_loop_by_hand_in_every_bit():
    tx, batches = recipe(), index_batches()
    options = {"evaluate": evaluate, "validation": DATA, "batches": batches}
    run = train(loss_fn, tx, PARAMS, DATA, model_state=REST, **options)
    seen = run.params, run.state.opt_state, readable(run.state.model_state), run.history.loss
    assert_same_bits(seen, by_hand(tx, batches))
    part = train(loss_fn, tx, PARAMS, DATA, model_state=REST, stop=7, **options)
    rest = train(loss_fn, tx, part.state, DATA, **options)
    assert_same_bits(readable(tuple(rest.state)), readable(tuple(run.state)))
    assert_same_bits(rest.history.epochs, jax.tree.map(lambda x: x[1:], run.history.epochs))
    last = run.history.epochs.evaluation[-1], run.history.epochs.averaged[-1]
    average = averages.averaged_params(run.state.opt_state, run.params)
    by_call = [jax.jit(evaluate)(params, DATA, run.state.model_state) for params in (run.params, average)]
    np.testing.assert_allclose(last, by_call, rtol=1e-6)


def test_batch_norm_is_torchs_but_for_rounding():
    x, y = (torch.from_numpy(np.array(leaf)) for leaf in DATA)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 10)).double()
    with jax.enable_x64(True):
        start = {name: jnp.array(p.detach().numpy()) for name, p in model.named_parameters()}

        def loss_fn(p, batch, mean):
            hidden = batch[0] @ p["0.weight"].T + p["0.bias"]
            average, variance = hidden.mean(0), hidden.var(0)
            hidden = (hidden - average) / jnp.sqrt(variance + 1e-5) * p["1.weight"] + p["1.bias"]
            return cross_entropy(hidden @ p["2.weight"].T + p["2.bias"], batch[1]), 0.9 * mean + 0.1 * average

        rule, batches = funcsgd.sgd(0.1, momentum=0.9), index_batches()
        data = (jnp.array(x.double().numpy()), DATA[1])
        run = train(loss_fn, rule, start, data, batches, model_state=jnp.zeros(16))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for indices in batches.reshape(-1, BATCH):
            rows = indices[indices >= 0]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[rows].double()), y[rows].long()).backward()
            optimizer.step()
        np.testing.assert_allclose(run.state.model_state, model[1].running_mean, rtol=1e-9)
        for name, p in model.named_parameters():
            np.testing.assert_allclose(run.params[name], p.detach(), rtol=1e-8, atol=1e-10)


def counting(params, batch, count):
    return ((params - batch) ** 2).mean(), count + 1


def test_the_state_goes_where_it_is_named():
    x = jnp.arange(5.0)
    seen = {"record": lambda step: (step.aux, step.model_state), "has_aux": True, "evaluate": lambda p, v, count: count}

    def loss_fn(params, batch, count):
        loss, after = counting(params, batch, count)
        return loss, (after, {"rows": jnp.float32(len(batch))})

    batches = np.array([[0, 1], [2, 3], [4, -1]])
    run = train(loss_fn, funcsgd.sgd(0.1), jnp.array(0.0), x, batches, 2, model_state=jnp.int32(10), **seen)
    assert run.state.model_state == 16
    np.testing.assert_array_equal(run.history.recorded[0]["rows"], [2, 2, 1] * 2)
    np.testing.assert_array_equal(run.history.recorded[1], np.arange(11, 17))
    np.testing.assert_array_equal(run.history.epochs.evaluation, [13, 16])


def test_a_line_search_measures_with_the_state_before():
    def scaled(params, batch, scale):  # the curvature along any direction is `scale`, which doubles with each update
        return scale * (params**2).sum() / 2 + 0 * batch.mean(), 2 * scale

    run = train(scaled, funcsgd.sgd(0.0), jnp.ones(2), jnp.ones(3), epochs=3, model_state=jnp.float32(1))
    np.testing.assert_array_equal(run.history.loss, [1, 2, 4])
    search = optax.chain(optax.scale(-1.0), curvature.scale_by_quadratic_linesearch())
    run = train(scaled, search, jnp.ones(2), jnp.ones(3), epochs=1, model_state=jnp.float32(8))
    np.testing.assert_array_equal(run.params, [0, 0])  # alpha* = 1 / 8


@pytest.mark.thorough
def test_a_sweep_carries_a_state_for_each_run():
    def run(point):
        return train(loss_fn, funcsgd.sgd(point["lr"]), PARAMS, DATA, index_batches(), model_state=REST).state

    rates = np.array([0.05, 0.1], np.float32)
    swept = funcsgd.sweep(lambda point: readable(run(point)), {"lr": rates})
    for i, rate in enumerate(rates):
        alone = readable(run({"lr": rate}))
        for a, b in zip(jax.tree.leaves(swept), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("loss_fn", "options", "message"),
    [
        (lambda w, b, s: w.sum(), {}, r"must return \(loss, model_state\), but returns float32\[\]"),
        (lambda w, b, s: (w.sum(), s), {"has_aux": True}, r"\(loss, \(model_state, aux\)\)"),
        (lambda w, b, s: (w.sum(), (s, s)), {}, "like the one it got"),
        (lambda w, b, s: (w.sum(), s[:1]), {}, r"model_state was float32\[2\] and is float32\[1\]"),
        (lambda w, b, s: (w.sum(), s.astype(jnp.int32)), {}, r"was float32\[2\] and is int32\[2\]"),
    ],
)
def test_what_the_loss_returns_is_looked_at_first(loss_fn, options, message):
    with pytest.raises(ValueError, match=message):
        train(loss_fn, funcsgd.sgd(0.1), jnp.ones(2), jnp.ones(3), epochs=1, model_state=jnp.ones(2), **options)


def test_a_run_that_goes_on_keeps_its_own():
    start = jnp.array(0.0), jnp.arange(3.0)
    part = train(counting, funcsgd.sgd(0.1), *start, epochs=2, model_state=jnp.int32(0), stop=1)
    with pytest.raises(ValueError, match="has its own model_state"):
        train(counting, funcsgd.sgd(0.1), part.state, start[1], epochs=2, model_state=jnp.int32(0))
    replaced = part.state._replace(model_state=jnp.int32(5))
    assert train(counting, funcsgd.sgd(0.1), replaced, start[1], epochs=2).state.model_state == 6
