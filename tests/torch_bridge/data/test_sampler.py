import numpy as np
import pytest
import torch
import torch.utils.data as torch_data

from torch_bridge import data
from torch_bridge.random import Generator, default_generator, fork_rng, manual_seed


def test_a_pass_gives_python_integers():
    assert list(data.SequentialSampler("abc")) == [0, 1, 2]
    assert type(next(iter(data.RandomSampler("abc")))) is int


def test_the_seed_between_the_default_stream_and_the_order():
    with fork_rng():
        torch.manual_seed(0)
        manual_seed(0)
        assert list(data.RandomSampler(range(20))) == list(torch_data.RandomSampler(range(20)))
        np.testing.assert_array_equal(default_generator.rand(3), torch.rand(3).numpy())


def test_a_pass_in_pieces():
    whole = list(data.RandomSampler(range(7), num_samples=20, generator=Generator(0)))
    piecewise = iter(data.RandomSampler(range(7), num_samples=20, generator=Generator(0)))
    assert np.concatenate([piecewise.take(k) for k in (0, 1, 6, 7, 3, 50, 1)]).tolist() == whole


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda m: m.RandomSampler([]), ValueError),
        (lambda m: m.RandomSampler(range(5), num_samples=0), ValueError),
        (lambda m: m.RandomSampler(range(5), num_samples=1.5), ValueError),
        (lambda m: m.RandomSampler(range(5), replacement=1), TypeError),
        (lambda m: m.WeightedRandomSampler([[1.0]], 1), ValueError),
        (lambda m: m.WeightedRandomSampler([1.0], True), ValueError),
        (lambda m: m.WeightedRandomSampler([1.0], 1, 1), ValueError),
        (lambda m: list(m.WeightedRandomSampler([1.0, 2.0], 5, False)), RuntimeError),
        (lambda m: m.BatchSampler(range(5), 0, False), ValueError),
        (lambda m: m.BatchSampler(range(5), 2, 0), ValueError),
    ],
)
def test_refused_as_torch_refuses(make, error):
    with pytest.raises(error) as theirs:
        make(torch_data)
    with pytest.raises(error) as ours:
        make(data)
    assert str(ours.value) == str(theirs.value).split("\n")[0]


@pytest.mark.parametrize("drop_last", [False, True])
def test_batches(drop_last):
    for n in range(12):
        ours, theirs = data.BatchSampler(range(n), 4, drop_last), torch_data.BatchSampler(range(n), 4, drop_last)
        assert list(ours) == list(theirs)
        assert len(ours) == len(theirs)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_distributed(drop_last, shuffle):
    theirs_class = torch_data.distributed.DistributedSampler
    for n in (0, 1, 2, 5, 9, 10, 100):
        for replicas in (1, 2, 3, 7):
            for rank in range(replicas):
                arguments = (range(n), replicas, rank, shuffle, 3, drop_last)
                ours, theirs = data.DistributedSampler(*arguments), theirs_class(*arguments)
                for epoch in (0, 2):
                    ours.set_epoch(epoch)
                    theirs.set_epoch(epoch)
                    if n or drop_last:
                        assert list(ours) == list(theirs), (arguments, epoch)
                    assert len(ours) == len(theirs)


def test_ranks_come_from_jax():
    assert list(data.DistributedSampler(range(3), shuffle=False)) == [0, 1, 2]
    with pytest.raises(ValueError, match=r"Invalid rank 2, rank should be in the interval \[0, 1\]"):
        data.DistributedSampler(range(3), 2, 2)


def test_a_sampler_of_ones_own():
    class Odd(data.Sampler):
        def __len__(self):
            return 3

        def piece(self, number, source):
            return np.array([1, 3, 5]) if number == 0 else None

    assert [batch.tolist() for batch in data.DataLoader(range(6), 2, sampler=Odd())] == [[1, 3], [5]]
