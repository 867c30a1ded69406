import numpy as np
import pytest
import torch

from tests.support.against_torch import assert_same_draw, message_of
from torch_bridge.random import Generator, seeded
from torch_bridge.random.mersenne_twister import draw_64
from torch_bridge.random.permutation import LEAST_BLOCK, WIDE_LENGTH, inside_out, shuffled

SIZES = (0, 1, 2, 3, 4, 5, 10, 100, 624, 625, 626, 1000, LEAST_BLOCK, LEAST_BLOCK + 1, LEAST_BLOCK + 2, 5000, 20_000)


def shuffled_by_hand(words):
    cells = list(range(len(words) + 1))
    for i, word in enumerate(words.tolist()):
        target = i + word % (len(cells) - i)
        cells[i], cells[target] = cells[target], cells[i]
    return cells


def inside_out_by_hand(words):
    cells = [0] * len(words)
    for i, word in enumerate(words.tolist()):
        choice = word % (i + 1)
        cells[i] = cells[choice]
        cells[choice] = i
    return cells


def test_two_swaps_by_hand():
    # (0 1 2): 0 <-> 0 + 5 % 3 = 2 gives (2 1 0); 1 <-> 1 + 3 % 2 = 2 gives (2 0 1)
    np.testing.assert_array_equal(shuffled(np.array([5, 3], np.uint32), 3), [2, 0, 1])


@pytest.mark.parametrize("n", SIZES)
def test_randperm(n):
    assert_same_draw(lambda: torch.randperm(n), lambda g: g.randperm(n))


@pytest.mark.parametrize("n", [100_003, 1_000_000])
def test_many_blocks(n):
    assert_same_draw(lambda: torch.randperm(n), lambda g: g.randperm(n), seeds=(0,))


@pytest.mark.parametrize("dtype", ["int32", "int16", "float32", "float64", "bfloat16", "float16"])
def test_dtypes(dtype):
    assert_same_draw(
        lambda: torch.randperm(200, dtype=getattr(torch, dtype)), lambda g: g.randperm(200, dtype), seeds=(0, 1)
    )


@pytest.mark.parametrize("words", [np.zeros, np.ones, lambda n: np.full(n, 2**32 - 1), lambda n: np.arange(n)[::-1]])
@pytest.mark.parametrize("n", [2, 3, 50, LEAST_BLOCK + 50])
def test_steps_that_all_share_a_cell(words, n):
    words = words(n - 1).astype(np.uint32)
    np.testing.assert_array_equal(shuffled(words, n), shuffled_by_hand(words))


@pytest.mark.parametrize("n", [1, 2, 3, 10, LEAST_BLOCK - 1, LEAST_BLOCK, LEAST_BLOCK + 1, 50_000])
def test_inside_out(n):
    for seed in (0, 1):
        words, _ = draw_64(seeded(seed), n)
        actual, _ = inside_out(seeded(seed), n)
        np.testing.assert_array_equal(actual, inside_out_by_hand(words))


@pytest.mark.exhaustive
@pytest.mark.parametrize("n", [WIDE_LENGTH - 1, WIDE_LENGTH])
def test_both_sides_of_the_threshold(n):
    generator = Generator(42)
    actual = generator.randperm(n)
    expected = torch.randperm(n, generator=torch.manual_seed(42)).numpy()
    assert np.array_equal(actual, expected)
    np.testing.assert_array_equal(generator.get_state(), torch.get_rng_state().numpy())


@pytest.mark.parametrize(
    ("n", "dtype", "error"),
    [
        (-1, "int64", RuntimeError),
        (300, "uint8", RuntimeError),
        (130, "int8", RuntimeError),
        (40_000, "int16", RuntimeError),
        (2050, "float16", RuntimeError),
        (3, "bool", NotImplementedError),
    ],
)
def test_refused_as_torch_refuses(n, dtype, error):
    expected = message_of(error, lambda: torch.randperm(n, dtype=getattr(torch, dtype)))
    assert message_of(error, lambda: Generator().randperm(n, dtype)) == expected
