import numpy as np
import pytest
import torch

from torch_bridge.random import Generator, seeded
from torch_bridge.random.mersenne_twister import FEW_BLOCKS, WORDS, draw_32, draw_64


def test_the_reference_outputs():
    words, _ = draw_32(seeded(5489), 10_000)  # the C++ standard fixes the 10,000th
    assert words[-1] == 4123659995


@pytest.mark.parametrize(
    "sizes", [(1, 623, 1, 624), (624, 624), (625, 1), (WORDS * FEW_BLOCKS + 1, 5), (3, 6000, 0, 7)]
)
def test_pieces_make_the_whole(sizes):
    whole, end = draw_32(seeded(3), sum(sizes))
    state, pieces = seeded(3), []
    for size in sizes:
        piece, state = draw_32(state, size)
        pieces.append(piece)
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert state.position == end.position
    np.testing.assert_array_equal(state.key, end.key)


def test_the_first_of_two_words_is_on_top():
    words, _ = draw_32(seeded(0), 2)
    wide, _ = draw_64(seeded(0), 1)
    assert int(wide[0]) == int(words[0]) * 2**32 + int(words[1])


def test_a_draw_leaves_its_state_alone():
    state = seeded(0)
    before = state.key.copy()
    first, _ = draw_32(state, 5000)
    again, _ = draw_32(state, 5000)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(state.key, before)
    with pytest.raises(ValueError, match="read-only"):
        state.key[0] = 0


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1, 1.5, "a", True])
def test_refused_seeds_as_torch_refuses_them(seed):
    with pytest.raises((RuntimeError, ValueError)) as theirs:
        torch.Generator().manual_seed(seed)
    with pytest.raises(theirs.type) as ours:
        Generator(seed)
    assert str(ours.value) == str(theirs.value).split("\n")[0]
