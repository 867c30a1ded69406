import numpy as np
import pytest
import torch

from tests.support.against_torch import DTYPES, assert_same_draw, message_of
from torch_bridge.random import Generator, draw_uniform, seeded

SIZES = (0, 1, 15, 16, 17, 311, 312, 313, 623, 624, 625, 1000, 5000)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rand(dtype):
    for size in SIZES:
        assert_same_draw(lambda n=size: torch.rand(n, dtype=DTYPES[dtype]), lambda g, n=size: g.rand(n, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("low", "high"), [(-0.3, 0.7), (-1 / 3, 0.1), (5, 5), (1e-3, 1e3), (1.0, 1.0001), (-6e4, 100)])
def test_bounds(dtype, low, high):
    assert_same_draw(
        lambda: torch.empty(3000, dtype=DTYPES[dtype]).uniform_(low, high),
        lambda g: g.uniform(3000, low, high, dtype),
        seeds=(0, 1, -3),
    )


def test_the_bound_above_becomes_the_one_below():
    # Between 1 and its successor every float32 result rounds to one of the two; the upper one is not allowed.
    low, high = 1.0, float(np.nextafter(np.float32(1), np.float32(2)))
    values, _ = draw_uniform(seeded(0), 1000, low, high)
    assert (values == 1).all()


@pytest.mark.parametrize(
    ("tensor", "shape", "order"),
    [
        (lambda: torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last), (2, 3, 4, 5), "channels_last"),
        (lambda: torch.empty(1, 2, 3, 4, 5).to(memory_format=torch.channels_last_3d), (1, 2, 3, 4, 5), "channels_last"),
        (lambda: torch.empty(8, 9).t(), (9, 8), (1, 0)),
        (lambda: torch.empty(4, 5, 6).permute(2, 0, 1), (6, 4, 5), (1, 2, 0)),
        (lambda: torch.empty(10, 9)[::2, 1:], (5, 8), (0, 1)),
        (lambda: torch.empty(()), (), None),
    ],
)
def test_numbers_follow_memory(tensor, shape, order):
    assert_same_draw(lambda: tensor().uniform_(), lambda g: g.rand(shape, memory_order=order), seeds=(0, 1))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("low", "high"), [(2, 1), (-np.inf, 1), (0, np.inf), (np.nan, 1), ("-max", "max")])
def test_refused_bounds_as_torch_refuses_them(dtype, low, high):
    largest = torch.finfo(DTYPES[dtype]).max
    low, high = (largest * (1 if v == "max" else -1) if isinstance(v, str) else v for v in (low, high))
    expected = message_of(RuntimeError, lambda: torch.empty(3, dtype=DTYPES[dtype]).uniform_(low, high))
    assert message_of(RuntimeError, lambda: Generator().uniform(3, low, high, dtype)) == expected


def test_other_refusals():
    assert message_of(NotImplementedError, lambda: Generator().rand(3, dtype="int64")) == message_of(
        NotImplementedError, lambda: torch.rand(3, dtype=torch.int64)
    )
    assert message_of(RuntimeError, lambda: Generator().rand(2, -3)) == message_of(
        RuntimeError, lambda: torch.rand(2, -3)
    )
    with pytest.raises(RuntimeError, match="channels_last"):
        Generator().rand(3, memory_order="channels_last")
    with pytest.raises(ValueError, match="order the dimensions"):
        Generator().rand(3, 4, memory_order=(0, 0))
