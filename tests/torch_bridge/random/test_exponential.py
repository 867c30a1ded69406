import pytest
import torch

from tests.support.against_torch import DTYPES, assert_same_draw, message_of
from torch_bridge.random import Generator


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", [1.0, 0.7, 1e-6, float("inf")])
def test_exponential(dtype, rate):
    assert_same_draw(
        lambda: torch.empty(1000, dtype=DTYPES[dtype]).exponential_(rate),
        lambda g: g.exponential(1000, rate, dtype),
        seeds=(0, 1, 2, -3),
    )


def test_sizes_and_memory_order():
    for size in (0, 1, 312, 313):
        assert_same_draw(lambda n=size: torch.empty(n).exponential_(), lambda g, n=size: g.exponential(n))
    assert_same_draw(
        lambda: torch.empty(8, 9).t().exponential_(),
        lambda g: g.exponential((9, 8), memory_order=(1, 0)),
        seeds=(0, 1),
    )


@pytest.mark.parametrize(("rate", "dtype"), [(-1.0, "float32"), (0.0, "float32"), (1.0, "int64")])
def test_refused_as_torch_refuses(rate, dtype):
    expected = message_of(RuntimeError, lambda: torch.empty(3, dtype=getattr(torch, dtype)).exponential_(rate))
    assert message_of(RuntimeError, lambda: Generator().exponential(3, rate, dtype)) == expected
