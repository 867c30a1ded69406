import warnings

import numpy as np
import pytest
import torch
import torch.utils.data as torch_data

from torch_bridge import data
from torch_bridge.random import Generator, default_generator, fork_rng, manual_seed


@pytest.mark.parametrize(
    ("n", "lengths"),
    [
        (10, [3, 7]),
        (10, [0.3, 0.7]),
        (11, [0.5, 0.25, 0.25]),
        (5, [1, 0]),
        (1, [1]),
        (100, [0.1] * 10),
        (7, [0.9, 0.1]),
        (10, [5, 5, 0]),
        (4, [-1, 5]),
    ],
)
def test_random_split(n, lengths):
    with fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(n)
        manual_seed(n)
        theirs, ours = torch_data.random_split(range(n), lengths), data.random_split(range(n), lengths)
        assert [part.indices.tolist() for part in ours] == [list(part.indices) for part in theirs]
        np.testing.assert_array_equal(default_generator.rand(2), torch.rand(2).numpy())
        theirs = torch_data.random_split(range(n), lengths, torch.Generator().manual_seed(1))
        ours = data.random_split(range(n), lengths, Generator(1))
        assert [part.indices.tolist() for part in ours] == [list(part.indices) for part in theirs]


@pytest.mark.parametrize("lengths", [[2, 2], [0.5, 0.6], [-0.5, 1.5], [1.0000000000000002]])
def test_refused_as_torch_refuses(lengths):
    with pytest.raises(ValueError) as theirs:  # noqa: PT011 (the message is compared)
        torch_data.random_split(range(5), lengths)
    with pytest.raises(ValueError) as ours:  # noqa: PT011
        data.random_split(range(5), lengths)
    assert str(ours.value) == str(theirs.value)


def test_a_part_of_nothing_warns():
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        data.random_split(range(3), [1.0, 0.0], Generator())


def test_parts_of_arrays_are_gathered_whole():
    part, _ = data.random_split(data.ArrayDataset(np.arange(10.0), np.arange(10)), [6, 4], Generator(0))
    x, y = next(iter(data.DataLoader(part, batch_size=6)))
    assert x.tolist() == y.tolist() == part.indices.tolist()
    assert part[2] == (part.indices[2], part.indices[2])


def test_parts_of_other_datasets():
    part = data.Subset("abcdef", [4, 1])
    assert not hasattr(part, "gather")
    assert list(data.DataLoader(part, batch_size=2)) == [["e", "b"]]


def test_arrays_of_unequal_length():
    with pytest.raises(AssertionError, match="Size mismatch between tensors"):
        data.ArrayDataset(np.zeros(2), np.zeros(3))
