"""Whole runs: equal in every bit to a loop by hand, however they are divided, and to torch where that is promised."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import funcsgd
from funcsgd import averages, schedules, train
from funcsgd.training import BatchOrder, batch_order
from tests.support.sampling import one_in
from tests.support.training_runs import (
    BATCH,
    EPOCHS,
    PROBLEMS,
    STEPS,
    N,
    assert_same_bits,
    by_hand,
    index_batches,
    linear_regression,
    perceptron,
    recipe,
)
from torch_bridge import random
from torch_bridge.data import DataLoader
from torch_bridge.data.traced import shuffled_epoch
from torch_bridge.demo import golden
from torch_bridge.demo import recipe as demo
from torch_bridge.random import traced
from torch_bridge.replaying.envelope import distance

TOTAL = EPOCHS * STEPS


def toy(w, batch):
    return ((w - batch) ** 2).mean() / 2


def test_two_updates_by_hand():
    run = train(toy, funcsgd.sgd(0.5), jnp.array(8.0), jnp.array([0.0, 2.0, 4.0]), np.array([[0, 1], [2, -1]]), 1)
    # Batches (0, 2) and (4): gradients 8 - 1, then 4.5 - 4.
    np.testing.assert_array_equal(run.history.loss, [(64 + 36) / 4, 0.125])
    assert run.params == 4.25
    assert run.history.epochs.loss == pytest.approx((2 * 25 + 0.125) / 3)  # each loss counts for its samples
    assert run.state.step == 2


@pytest.mark.parametrize("name", one_in(2, PROBLEMS))
def test_same_bits_as_a_loop_by_hand(name):
    problem, tx, batches = PROBLEMS[name](), recipe(), index_batches()
    run = train(*problem[:1], tx, *problem[1:], batches)
    assert_same_bits((run.params, run.state.opt_state, run.history.loss), by_hand(problem, tx, batches))


@pytest.mark.thorough
@pytest.mark.parametrize("rule", [optax.sgd(0.1), optax.scale_by_backtracking_linesearch(5)])
def test_any_optax_rule_gets_the_arguments_it_takes(rule):
    tx, problem, batches = optax.chain(optax.scale(-1.0), rule), perceptron(), index_batches(epochs=1)
    run = train(*problem[:1], tx, *problem[1:], batches)
    assert_same_bits((run.params, run.state.opt_state, run.history.loss), by_hand(problem, tx, batches))


def everything(step):
    return step.opt_state, optax.tree.norm(step.grads)


ENOUGH = [5, 10], [7], range(1, TOTAL)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "interruptions"),
    [
        ("perceptron", ENOUGH),
        pytest.param("perceptron", ([1], [14], [5, 6, 7, 8, 9]), marks=pytest.mark.thorough),
        pytest.param("convolutional", ENOUGH, marks=pytest.mark.thorough),
    ],
)
def test_the_result_does_not_depend_on_where_it_was_interrupted(name, interruptions):
    problem, tx, batches = PROBLEMS[name](), recipe(), index_batches()
    options = {"evaluate": problem.loss_fn, "validation": problem.data, "record": everything}
    whole = train(*problem[:1], tx, *problem[1:], batches, **options)
    for stops in interruptions:
        state, histories = problem.params, []
        for stop in [*stops, None]:
            part = train(problem.loss_fn, tx, state, problem.data, batches, stop=stop, **options)
            state = jax.tree.map(np.asarray, part.state)  # saved and loaded
            histories.append(part.history)
        joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), *histories)
        assert_same_bits((part.state, joined), tuple(whole))


@pytest.mark.thorough
def test_orders_drawn_in_the_program_do_not_depend_on_interruptions():
    problem, tx, order = linear_regression(), recipe(), batch_order(N, BATCH)
    options = {"batches": order, "epochs": EPOCHS, "key": jax.random.key(3)}
    whole = train(*problem[:1], tx, *problem[1:], **options)
    part = train(*problem[:1], tx, *problem[1:], **options, stop=8)
    rest = train(problem.loss_fn, tx, part.state, problem.data, order, EPOCHS)
    assert_same_bits(rest.params, whole.params)
    key, batches = jax.random.key(3), np.full((EPOCHS, STEPS * BATCH), -1)
    for epoch in range(EPOCHS):
        drawn, key = order.draw(key)
        batches[epoch, :N] = drawn
    given = train(*problem[:1], tx, *problem[1:], batches.reshape(EPOCHS, STEPS, BATCH))
    assert_same_bits(given.params, whole.params)


@pytest.mark.thorough
def test_torchs_orders_drawn_in_the_program_are_the_loaders():
    problem, tx = linear_regression(), recipe()
    order = BatchOrder(lambda stream: shuffled_epoch(stream, N), N, BATCH)
    inside = train(*problem[:1], tx, *problem[1:], order, EPOCHS, key=traced.Generator(7).state)
    random.manual_seed(7)
    loader = DataLoader(range(N), BATCH, shuffle=True)
    batches = np.stack([loader.index_batches(pad=-1) for _ in range(EPOCHS)])
    assert_same_bits(inside.params, train(*problem[:1], tx, *problem[1:], batches).params)


def test_one_epochs_batches_serve_all_epochs():
    problem, tx, batches = linear_regression(), recipe(), index_batches(epochs=1)
    repeated = np.repeat(batches, EPOCHS, 0)
    again = train(*problem[:1], tx, *problem[1:], batches[0], EPOCHS)
    assert_same_bits(again, train(*problem[:1], tx, *problem[1:], repeated))


def test_full_gradient_is_one_batch_of_everything():
    problem, tx = linear_regression(), funcsgd.sgd(0.1, momentum=0.9)
    full = train(*problem[:1], tx, *problem[1:], epochs=4)
    assert_same_bits(full, train(*problem[:1], tx, *problem[1:], np.arange(N)[None], 4))


def test_drop_last():
    run = train(
        *linear_regression()[:1],
        recipe(),
        *linear_regression()[1:],
        batch_order(N, BATCH, drop_last=True),
        2,
        key=jax.random.key(0),
    )
    assert run.state.step == 2 * (N // BATCH)


def test_plateau_receives_each_epochs_metric_as_torchs_scheduler_does(x64):
    epochs = 40
    rng = np.random.default_rng(0)
    data = rng.standard_normal((30, 4))
    plateau = schedules.ReduceLROnPlateau(0.3, factor=0.5, patience=1, threshold=0.05)
    tx = optax.chain(funcsgd.add_momentum(0.9), funcsgd.scale_by_plateau(plateau, every=4))
    run = train(
        lambda w, batch: ((w - batch) ** 2).mean(),
        tx,
        jnp.zeros(4),
        data,
        batch_order(30, 8),
        epochs,
        key=jax.random.key(0),
        evaluate=lambda w, held: {"loss": ((w - held) ** 2).mean()},
        validation=rng.standard_normal((30, 4)),
        metric=lambda epoch: epoch.evaluation["loss"],
        record=lambda step: funcsgd.get_learning_rate(step.opt_state),
    )
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, threshold=0.05)
    rates = []
    for value in np.asarray(run.history.epochs.evaluation["loss"]):
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step(float(value))
    assert len(set(rates)) > 3
    np.testing.assert_array_equal(np.asarray(run.history.recorded).reshape(epochs, 4), np.repeat([rates], 4, 0).T)


def test_evaluates_the_average_too():
    problem, batches = linear_regression(), index_batches()
    run = train(
        *problem[:1], recipe(), *problem[1:], batches, evaluate=lambda p, _: p, record=lambda s: (s.params, s.opt_state)
    )
    last = jax.tree.map(lambda x: x.reshape(EPOCHS, STEPS, *x.shape[1:])[:, -1], run.history.recorded)
    assert_same_bits(run.history.epochs.evaluation, last[0])
    assert_same_bits(run.history.epochs.averaged, last[1].average.average)
    assert (
        train(toy, funcsgd.sgd(0.1), 1.0, np.ones(3), epochs=1, evaluate=lambda p, _: p).history.epochs.averaged is None
    )


@pytest.mark.thorough
def test_evaluates_several_averages():
    tx = optax.chain(
        *(averages.with_average(optax.identity(), averages.ema(d)) for d in (0.5, 0.75)),
        funcsgd.sgd(0.1),
    )
    run = train(toy, tx, jnp.array(1.0), np.ones(3), epochs=2, evaluate=lambda p, _: p)
    assert [average.shape for average in run.history.epochs.averaged] == [(2,), (2,)]


def test_records_aux_and_the_optimizers_state_at_each_update():
    def loss_fn(w, batch):
        return toy(w, batch), batch.sum()

    run = train(
        loss_fn,
        funcsgd.sgd(schedules.ExponentialLR(1.0, gamma=0.5)),
        jnp.array(0.0),
        jnp.arange(4.0),
        np.array([[0, 1], [2, 3]]),
        2,
        has_aux=True,
        record=lambda step: {"sum": step.aux, "rate": funcsgd.get_learning_rate(step.opt_state)},
    )
    np.testing.assert_array_equal(run.history.recorded["sum"], [1, 5, 1, 5])
    np.testing.assert_array_equal(run.history.recorded["rate"], [0.5, 0.25, 0.125, 0.0625])  # the next update's


def test_donation_takes_the_memory_and_changes_nothing():
    problem, tx, batches = linear_regression(), recipe(), index_batches()
    kept = train(*problem[:1], tx, *problem[1:], batches)
    params = jax.tree.map(jnp.array, problem.params)
    assert_same_bits(train(problem.loss_fn, tx, params, problem.data, batches, donate=True), kept)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(params))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(kept))


@pytest.mark.thorough
def test_a_start_that_is_not_donated_survives():
    problem, tx, batches = linear_regression(), recipe(), index_batches()
    params = jax.tree.map(jnp.array, problem.params)
    part = train(problem.loss_fn, tx, params, problem.data, batches, stop=7)
    first = train(problem.loss_fn, tx, part.state, problem.data, batches)
    assert_same_bits(train(problem.loss_fn, tx, part.state, problem.data, batches), first)


@pytest.mark.thorough
@pytest.mark.parametrize("tx", [funcsgd.sgd(0.1), optax.GradientTransformation(*optax.sgd(0.1))], ids=["ours", "plain"])
def test_compiles_once(tx):
    traces = []

    def loss_fn(w, batch):
        traces.append(1)
        return toy(w, batch)

    data = jnp.arange(7.0)
    for seed in range(3):
        key = jax.random.key(seed)
        train(loss_fn, tx, jnp.array(0.0), data, batch_order(7, 2), 3, key=key)
        if not seed:
            after_first = len(traces)
    assert len(traces) == after_first


@pytest.mark.parametrize("leaks", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_inside_jit_and_vmap_hyperparameters_and_keys_may_be_traced(leaks):
    data = jnp.arange(4.0)

    def final(rate, seed):
        run = train(toy, funcsgd.sgd(rate), jnp.array(4.0), data, batch_order(4, 2), 2, key=jax.random.key(seed))
        return run.params

    with jax.check_tracer_leaks(leaks):
        many = jax.jit(jax.vmap(final))(jnp.array([0.0, 0.5, 0.5]), jnp.array([0, 1, 2]))
    assert many.tolist() == [4.0, float(final(0.5, 1)), float(final(0.5, 2))]  # dyadic numbers: exact in any order


def test_progress_is_called_in_order_and_changes_no_bit():
    problem, tx, batches = linear_regression(), recipe(), index_batches()
    calls = []
    shown = train(
        *problem[:1],
        tx,
        *problem[1:],
        batches,
        progress=lambda made, total, loss: calls.append((int(made), total, float(loss))),
    )
    jax.effects_barrier()
    assert_same_bits(shown, train(*problem[:1], tx, *problem[1:], batches))
    assert calls == [(i + 1, TOTAL, float(loss)) for i, loss in enumerate(shown.history.loss)]


def test_the_demos_digits_follow_pytorchs():
    trace = golden.load()
    x, y = golden.digits(trace)
    batches = trace.steps["data"].reshape(demo.EPOCHS, demo.STEPS_PER_EPOCH, demo.BATCH_SIZE)
    params = {name: trace.initial[f"parameter/{name}"] for name in ("0.weight", "0.bias", "2.weight", "2.bias")}
    path = train(demo.loss_fn, demo.rule(), params, (x, y), batches, record=lambda s: s.params).history.recorded
    kept = [step for step in range(demo.N_STEPS) if trace.value("parameter/0.bias", step) is not None]
    assert kept[-1] == demo.N_STEPS - 1
    for name in params:
        for step in kept:
            theirs = trace.value(f"parameter/{name}", step)
            assert distance(theirs, np.asarray(path[name][step])) < 1e-4 * np.linalg.norm(theirs), (name, step)


REFUSED = {
    "index too large": ({"batches": [[0, 4]]}, r"batches\[0, 1\] is 4, but there are 4 samples"),
    "index too small": ({"batches": [[0, -2]]}, r"batches\[0, 1\] is -2"),
    "a hole in a batch": ({"batches": [[0, 1], [-1, 2]]}, r"batches\[1, 0\] is -1"),
    "filling before the last batch": ({"batches": [[0, -1], [1, 2]]}, r"batches\[0, 1\] is -1"),
    "an empty batch": ({"batches": [[0, 1], [-1, -1]]}, r"batches\[1, 0\] is -1"),
    "unequal filling": ({"batches": [[[0, -1]], [[0, 1]]], "epochs": None}, r"batches\[1, 0, 1\] is 1.*equally far"),
    "one dimension": ({"batches": [0, 1]}, r"shape \(epochs, steps, batch\)"),
    "no batches": ({"batches": np.zeros((0, 2), int)}, r"has \(0, 2\)"),
    "floats": ({"batches": [[0.0, 1.0]]}, "must be integers"),
    "epochs that do not fit": ({"batches": np.zeros((2, 1, 2), int), "epochs": 3}, "hold 2 epochs, but epochs=3"),
    "no epochs": ({"epochs": None}, "give epochs"),
    "zero epochs": ({"epochs": 0}, "at least 1, but is 0"),
    "arrays of unequal length": ({"data": {"x": np.ones(4), "y": np.ones(3)}}, r"\['x'\]: 4, \['y'\]: 3"),
    "a scalar among the data": ({"data": (np.ones(4), 1.0)}, r"\[1\]: a scalar"),
    "batches of nothing": ({"data": (), "batches": [[0]]}, "no data"),
    "an order without a key": ({"batches": batch_order(4, 2)}, "key"),
    "a key without an order": ({"key": 0}, "key"),
    "an order of another length": (
        {"batches": BatchOrder(lambda k: (jnp.arange(3), k), 4, 2), "key": 0},
        "draw 4 integers",
    ),
    "a loss of each sample": ({"loss_fn": lambda w, batch: w - batch}, r"floating scalar, but returns float32\[4\]"),
    "an integer loss": ({"loss_fn": lambda w, batch: 1}, "floating scalar"),
    "unexpected aux": ({"loss_fn": lambda w, batch: (w, 0)}, "has_aux=False"),
    "missing aux": ({"has_aux": True}, "has_aux=True"),
    "a plateau without a metric": (
        {"tx": funcsgd.scale_by_plateau(schedules.ReduceLROnPlateau(0.1))},
        "metric=",
    ),
    "a metric that is no scalar": ({"metric": lambda epoch: jnp.ones(2)}, r"scalar.*\(2,\)"),
    "a stop behind the end": ({"stop": 3}, "update 0 of 2; it cannot go on to 3"),
    "a stop at the start": ({"stop": 0}, "cannot go on to 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case):
    given, message = REFUSED[case]
    arguments = {
        "loss_fn": toy,
        "tx": funcsgd.sgd(0.1),
        "params": jnp.array(1.0),
        "data": np.ones(4, np.float32),
        "epochs": 2,
    }
    with pytest.raises(ValueError, match=message):
        train(**(arguments | given))


def test_refuses_a_state_of_another_run():
    tx, data = funcsgd.sgd(0.1), np.ones(4, np.float32)
    half = train(toy, tx, jnp.array(1.0), data, epochs=4, stop=2)
    with pytest.raises(ValueError, match="1 updates in an epoch, but here are 2"):
        train(toy, tx, half.state, data, [[0, 1], [2, 3]], 4)
    done = train(toy, tx, half.state, data, epochs=4)
    with pytest.raises(ValueError, match="made 4 of 4"):
        train(toy, tx, done.state, data, epochs=4)


@pytest.mark.parametrize("index", [4, -1])
def test_an_index_out_of_range_that_was_drawn_shows_in_that_epochs_losses(index):
    order = BatchOrder(lambda key: (jnp.where(key == 1, index, jnp.arange(3)), key + 1), 3, 2)
    data, rule = np.ones(4, np.float32), funcsgd.sgd(0.1)
    whole = train(toy, rule, jnp.array(2.0), data, order, 3, key=0)
    assert np.isnan(whole.history.loss).tolist() == [False, False, True, True, False, False]
    assert np.isnan(whole.history.epochs.loss).tolist() == [False, True, False]
    part = train(toy, rule, jnp.array(2.0), data, order, 3, key=0, stop=3)
    assert np.isnan(part.history.loss).tolist() == [False, False, True]


def test_traced_index_arrays_are_checked_in_the_program():
    run = jax.jit(lambda batches: train(toy, funcsgd.sgd(0.1), jnp.array(2.0), np.ones(4), batches, 1).history.loss)
    assert np.isfinite(run(np.array([[0, 1], [2, 3]]))).all()
    assert np.isnan(run(np.array([[0, 1], [2, 4]]))).all()
