"""Runs over batches that arrive one by one, early stopping, seeds and sizes as integers, and what is refused."""

import re

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcsgd
from funcsgd import schedules, sgd, train
from funcsgd.training import train_batches
from tests.support.training_runs import linear_regression

PROBLEM = linear_regression()
ORDER = np.random.default_rng(0).permutation(150).reshape(1, 10, 15)
RULE = sgd(schedules.tabulate(schedules.CosineAnnealingLR(0.1, 10), 10), 0.9, weight_decay=0.01)


def batch(k):
    return jax.tree.map(lambda x: x[ORDER[0, k]], PROBLEM.data)


def same_bits(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)


def recorded(step):
    return funcsgd.get_learning_rate(step.opt_state)


WHOLE = train(PROBLEM.loss_fn, RULE, PROBLEM.params, PROBLEM.data, ORDER, record=recorded)


class Batches:
    """What grain reads from: random access to whole batches."""

    def __len__(self):
        return 10

    def __getitem__(self, k):
        return batch(k)


FORMS = {
    "function": lambda: batch,
    "list": lambda: [batch(k) for k in range(10)],
    "generator": lambda: (batch(k) for k in range(10)),
    "grain": lambda: grain.MapDataset.source(Batches()).to_iter_dataset(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_bits_of_train(form):
    run = train_batches(PROBLEM.loss_fn, RULE, PROBLEM.params, FORMS[form](), 10, record=recorded)
    assert same_bits(run.state[:2], WHOLE.state[:2])
    assert same_bits(run.history[:2], WHOLE.history[:2])
    assert same_bits(PROBLEM.params, linear_regression().params)  # nothing of the caller's is taken


def test_going_on():
    first = train_batches(PROBLEM.loss_fn, RULE, PROBLEM.params, batch, 4)
    assert int(first.state.step) == 4
    again = train_batches(PROBLEM.loss_fn, RULE, first.state, batch, 6)
    assert same_bits(again.state[:2], WHOLE.state[:2])
    assert same_bits(first.params, train_batches(PROBLEM.loss_fn, RULE, PROBLEM.params, batch, 4).params)


def test_stopping_between_batches():
    run = train_batches(PROBLEM.loss_fn, RULE, PROBLEM.params, batch, 10, until=lambda made, loss: made == 3)
    assert len(run.history.loss) == 3


def test_stopping_early_after_an_epoch():
    epochs = []
    run = train(
        PROBLEM.loss_fn,
        RULE,
        PROBLEM.params,
        PROBLEM.data,
        ORDER[0],
        5,
        until=lambda e: epochs.append(e) or len(epochs) == 2,
    )
    assert int(run.state.step) == 20
    whole = train(PROBLEM.loss_fn, RULE, PROBLEM.params, PROBLEM.data, ORDER[0], 5)
    assert same_bits(np.stack([epoch.loss for epoch in epochs]), whole.history.epochs.loss[:2])
    rest = train(PROBLEM.loss_fn, RULE, run.state, PROBLEM.data, ORDER[0], 5, until=lambda epoch: False)
    assert same_bits(rest.state, whole.state)


def test_an_integer_is_a_batch_size_and_a_seed():
    short = train(PROBLEM.loss_fn, RULE, PROBLEM.params, PROBLEM.data, 32, 2, key=3)
    order = funcsgd.training.batch_order(150, 32)
    assert same_bits(
        short.params, train(PROBLEM.loss_fn, RULE, PROBLEM.params, PROBLEM.data, order, 2, key=jax.random.key(3)).params
    )


def mean(w, batch):
    return ((w - batch) ** 2).mean()


X, W = np.arange(8, dtype=np.float32), jnp.array(1.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: train(lambda w, b: 1.0, RULE, W, X, epochs=2), ValueError, r"depends on the parameters, but .* 1\.0"),
        (lambda: train(mean, RULE, W, X, epochs=2.0), TypeError, r"epochs must be an integer, but is 2\.0"),
        (lambda: train(mean, RULE, W, X, 4, 2, key=0, stop=2.0), TypeError, r"stop must be an integer, but is 2\.0"),
        (lambda: train(mean, RULE, W, X[:0], epochs=2), ValueError, "the data hold no sample"),
        (lambda: train(mean, RULE, W, (), 4, 2, key=0), ValueError, "a batch size, but no data"),
        (
            lambda: train(mean, RULE, W, X, funcsgd.training.batch_order(12, 4), 2, key=0),
            ValueError,
            "the batch_order is of 12 samples, but the data have 8",
        ),
        (lambda: funcsgd.training.batch_order(8.0, 4), TypeError, r"samples must be an integer, but is 8\.0"),
        (lambda: funcsgd.training.batch_order(8, 4.0), TypeError, r"batch_size must be an integer, but is 4\.0"),
        (lambda: train_batches(mean, RULE, W, []), ValueError, "there was no batch"),
        (lambda: train_batches(mean, RULE, W, batch), ValueError, "give updates"),
        (lambda: jax.jit(lambda w: train_batches(mean, RULE, w, [X]).params)(W), ValueError, "outside jit and vmap"),
        (
            lambda: jax.jit(lambda w: train(mean, RULE, w, X, epochs=2, until=bool).params)(W),
            ValueError,
            "until decides on the host",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "note"),
    [
        (lambda: train(lambda w, b: float(mean(w, b)), RULE, W, X, epochs=2), r"without float\(\.\.\.\)"),
        (lambda: train(mean, RULE, W, (), epochs=2), r"train called loss_fn with no data: the batch is \(\)"),
    ],
)
def test_errors_inside_the_loss_function_say_what_it_was_given(call, note):
    with pytest.raises(TypeError) as raised:
        call()
    assert any(re.search(note, text) for text in raised.value.__notes__)
