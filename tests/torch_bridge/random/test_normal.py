import numpy as np
import pytest
import torch

from tests.support.against_torch import DTYPES, assert_same_draw, message_of
from torch_bridge.random import Generator

SIZES = (0, 1, 2, 7, 15, 16, 17, 31, 32, 33, 311, 312, 320, 607, 608, 609, 623, 624, 625, 640, 1000, 5000)


@pytest.mark.parametrize("dtype", DTYPES)
def test_randn(dtype):
    for size in SIZES:
        assert_same_draw(lambda n=size: torch.randn(n, dtype=DTYPES[dtype]), lambda g, n=size: g.randn(n, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [15, 999])
@pytest.mark.parametrize(("mean", "std"), [(1.5, 0.3), (0, 0), (-1e4, 0.02), (0.1, 1e4)])
def test_mean_and_std(dtype, size, mean, std):
    assert_same_draw(
        lambda: torch.empty(size, dtype=DTYPES[dtype]).normal_(mean, std),
        lambda g: g.normal(mean, std, size, dtype),
        seeds=(0, 1, -3),
    )


def test_many():
    assert_same_draw(lambda: torch.randn(1_000_003), lambda g: g.randn(1_000_003), seeds=(0,))


def test_the_cached_value_crosses_calls_dtypes_and_other_draws():
    def by_torch():
        parts = [torch.randn(3), torch.rand(5), torch.randn(16), torch.randn(1, dtype=torch.float64), torch.randn(2)]
        return torch.cat([part.double() for part in parts])

    def by_us(g):
        parts = [g.randn(3), g.rand(5), g.randn(16), g.randn(1, dtype="float64"), g.randn(2)]
        return np.concatenate([part.astype(np.float64) for part in parts])

    assert_same_draw(by_torch, by_us)


def test_seeding_drops_the_cached_value():
    g = Generator(0)
    g.randn(1)
    first = g.manual_seed(0).randn(1)
    np.testing.assert_array_equal(first, Generator(0).randn(1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tensor_that_is_not_row_major_is_filled_one_by_one(dtype):
    assert_same_draw(
        lambda: torch.empty(2, 3, 4, 5, dtype=DTYPES[dtype]).to(memory_format=torch.channels_last).normal_(),
        lambda g: g.randn(2, 3, 4, 5, dtype=dtype, memory_order="channels_last"),
        seeds=(0, 1),
    )


def test_dimensions_of_size_one_do_not_break_row_major_order():
    assert_same_draw(
        lambda: torch.empty(1, 40).t().normal_(), lambda g: g.randn(40, 1, memory_order=(1, 0)), seeds=(0, 1)
    )


@pytest.mark.parametrize("std", [-1.0, float("nan")])
def test_refused_as_torch_refuses(std):
    expected = message_of(RuntimeError, lambda: torch.empty(3).normal_(0, std))
    assert message_of(RuntimeError, lambda: Generator().normal(0, std, 3)) == expected


def test_no_integers():
    expected = message_of(NotImplementedError, lambda: torch.randn(3, dtype=torch.int32))
    assert message_of(NotImplementedError, lambda: Generator().randn(3, dtype="int32")) == expected
