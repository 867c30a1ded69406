"""Orders: every sample once, or independent draws; and cutting them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcsgd.training import BatchOrder, batch_order
from funcsgd.training.batches import Rows, are_in_range, checked_rows, cut


def epochs_of(order, seed, n):
    draw = lambda key, _: order.draw(key)[::-1]  # noqa: E731
    return np.asarray(jax.lax.scan(draw, jax.random.key(seed), None, length=n)[1])


def test_without_replacement_every_sample_comes_once_an_epoch():
    orders = epochs_of(batch_order(11, 4), 0, 6)
    np.testing.assert_array_equal(np.sort(orders, 1), np.tile(np.arange(11), (6, 1)))
    assert len({tuple(order) for order in orders}) == 6


def test_with_replacement_draws_are_uniform_and_independent():
    n, epochs = 10, 2000
    orders = epochs_of(batch_order(n, 4, replacement=True), 1, epochs)
    # Each count is binomial(20,000, 1/10); a repetition in the next place has probability 1/10. Four standard errors.
    counts = np.bincount(orders.ravel(), minlength=n)
    assert np.abs(counts - n * epochs / n).max() < 4 * np.sqrt(n * epochs * 0.1 * 0.9)
    repeats = (orders[:, 1:] == orders[:, :-1]).mean()
    assert abs(repeats - 0.1) < 4 * np.sqrt(0.1 * 0.9 / orders[:, 1:].size)


@pytest.mark.parametrize(
    ("samples", "size", "drop_last", "full", "rest"),
    [(6, 2, False, (3, 2), None), (7, 3, False, (2, 3), (1,)), (7, 3, True, (2, 3), None), (2, 3, False, None, (2,))],
)
def test_cut(samples, size, drop_last, full, rest):
    rows = cut(jnp.arange(samples), batch_order(samples, size, drop_last=drop_last))
    assert (rows.full is None) == (full is None)
    assert (rows.rest is None) == (rest is None)
    assert full is None or rows.full.shape == full
    assert rest is None or rows.rest.shape == rest
    parts = [np.ravel(part) for part in rows if part is not None]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(sum(rows.sizes)))


def test_index_arrays_are_split_where_the_filling_begins():
    rows = checked_rows([[[0, 1], [2, -1]], [[2, 0], [1, -1]]], 3)
    np.testing.assert_array_equal(rows.full, [[[0, 1]], [[2, 0]]])
    np.testing.assert_array_equal(rows.rest, [[2], [1]])
    assert rows.sizes == (2, 1)
    assert rows.own
    assert not checked_rows([[0, 1]], 2).own


def test_equal_orders_are_one_object():
    assert batch_order(5, 2) is batch_order(5, 2)
    assert batch_order(5, 2) is not batch_order(5, 2, replacement=True)


@pytest.mark.parametrize(("samples", "size", "drop"), [(0, 1, False), (3, 0, False), (3, 4, True)])
def test_refuses_empty_epochs(samples, size, drop):
    with pytest.raises(ValueError, match=r"at least 1, but is 0|give no batch"):
        BatchOrder(lambda key: (jnp.arange(samples), key), samples, size, drop)


@pytest.mark.parametrize("index", [-1, 3])
def test_are_in_range(index):
    data = {"x": jnp.zeros((3, 2)), "y": jnp.zeros(3)}
    assert are_in_range(Rows(jnp.array([[0, 1]]), jnp.array([2])), data)
    assert not are_in_range(Rows(jnp.array([[0, 1]]), jnp.array([index])), data)
    assert not are_in_range(Rows(jnp.array([[0, index]]), None), data)
