"""What is written down of a scheduler makes its table again."""

import numpy as np
import pytest

from funcsgd.arithmetic.float64_words import doubles
from funcsgd.schedules import chained_scheduler, exponential_lr, step_lr, swalr
from funcsgd.schedules.operations import operations
from tests.support.torch_schedulers import LEAVES, Draw, same_bits, to_ours


def test_by_hand():
    """A product in each epoch, and one in every second."""
    first, (decay, drop) = operations(chained_scheduler([exponential_lr(1.0, 0.9), step_lr(1.0, 2, 0.5)]), 4)
    assert first == 1.0
    assert decay.constants.tolist() == [[1.0], [0.9], [0.9], [0.9], [1.0]]
    assert drop.constants.tolist() == [[1.0], [1.0], [0.5], [1.0], [1.0]]
    assert not decay.kinds.any()


def test_several_operations_in_an_epoch():
    """Towards 0.5 in two steps: the way so far is taken back by a difference and a quotient."""
    _, (annealing,) = operations(chained_scheduler([swalr(1.0, 0.5, 2, "linear")]), 3)
    assert annealing.kinds.shape == (4, 4)
    with doubles():
        lr = np.float64(1.0)
        assert [float(lr := annealing.apply(lr, epoch)) for epoch in (1, 2, 3)] == [0.75, 0.5, 0.5]


@pytest.mark.parametrize("name", LEAVES)
def test_every_class_makes_its_table(name):
    for seed in range(5):
        schedule = to_ours(Draw(f"{name} {seed}", 30).leaf(name), 0.1)
        first, (written,) = operations(chained_scheduler([schedule], 0.1), 28)
        with doubles():
            rates = [np.float64(first)]
            for epoch in range(1, 28):
                rates.append(written.apply(rates[-1], epoch))
            assert same_bits(rates, schedule.table(28)), schedule


def test_at_least_one_epoch():
    with pytest.raises(ValueError, match="n=0"):
        operations(chained_scheduler([exponential_lr(0.1, 0.9)]), 0)
