import warnings

import pytest
import torch

from tests.support.against_torch import assert_same_draw, message_of
from torch_bridge.random import Generator, draw_integers

DTYPES = ("int64", "int32", "int16", "int8", "uint8", "bool", "float32", "float64", "float16", "bfloat16")
WIDE = [(0, 2**28 - 1), (0, 2**28), (-(2**27), 2**27), (0, 2**31), (-(2**40), 2**40), (0, 2**63 - 1), (-(2**63), 0)]
WIDE += [(-(2**63), 2**63 - 1)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_without_bounds(dtype):
    for size in (0, 1, 312, 624, 1001):
        assert_same_draw(
            lambda n=size: torch.empty(n, dtype=getattr(torch, dtype)).random_(),
            lambda g, n=size: g.random(n, dtype=dtype),
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_randint(dtype):
    high = 2 if dtype == "bool" else 100
    assert_same_draw(
        lambda: torch.randint(0, high, (1001,), dtype=getattr(torch, dtype)),
        lambda g: g.randint(0, high, 1001, dtype),
    )


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-5, 17), *WIDE])
def test_int64_ranges_around_the_threshold(low, high):
    assert_same_draw(lambda: torch.randint(low, high, (1001,)), lambda g: g.randint(low, high, 1001), seeds=(0, 1, -3))


@pytest.mark.filterwarnings("ignore:.*out of bounds")
@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("bfloat16", -500, 1001),
        ("bfloat16", 257, 600),
        ("float16", -2049, 2051),
        ("float16", 2049, 5001),
        ("float16", -4097, -4000),
        ("float32", 2**24 + 1, 2**25 + 1),
        *(("float32", low, high) for low, high in WIDE),
        *(("float64", low, high) for low, high in WIDE),
    ],
)
def test_floating_bounds_move_inwards(dtype, low, high):
    assert_same_draw(
        lambda: torch.empty(1001, dtype=getattr(torch, dtype)).random_(low, high),
        lambda g: g.random(1001, low, high, dtype),
        seeds=(0, 1, -3),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("low", [0, 1, -3])
def test_open_above(dtype, low):
    def by_torch():
        return torch.empty(100, dtype=getattr(torch, dtype)).random_(low, None)

    def by_us(g):
        values, g.state = draw_integers(g.state, low, None, 100, dtype)
        return values

    if low < 0 and dtype in ("uint8", "bool"):
        assert message_of(RuntimeError, lambda: by_us(Generator())) == message_of(RuntimeError, by_torch)
    else:
        assert_same_draw(by_torch, by_us, seeds=(0, 1))


def test_all_of_int64():
    assert_same_draw(lambda: torch.empty(9, dtype=torch.int64).random_(-(2**63), None), whole_int64, seeds=(0, 1))


def whole_int64(g):
    values, g.state = draw_integers(g.state, -(2**63), None, 9)
    return values


def test_random_to_and_memory_order():
    assert_same_draw(lambda: torch.empty(7, dtype=torch.int64).random_(9), lambda g: g.random(7, 9), seeds=(0, 1))
    assert_same_draw(
        lambda: torch.empty(8, 9, dtype=torch.int64).t().random_(0, 9),
        lambda g: g.randint(9, size=(9, 8), memory_order=(1, 0)),
        seeds=(0, 1),
    )


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(3, 3, "int64"), (0, 300, "uint8"), (-1, 3, "uint8"), (0, 2**63, "int64"), (0, 70000, "float16"), (0, 3, "bool")],
)
def test_refused_as_torch_refuses(low, high, dtype):
    with pytest.raises((RuntimeError, ValueError)) as theirs:
        torch.randint(low, high, (2,), dtype=getattr(torch, dtype))
    with pytest.raises(theirs.type) as ours:
        Generator().randint(low, high, 2, dtype)
    assert str(ours.value) == str(theirs.value).split("\n")[0]


def test_other_refusals():
    with pytest.raises(NotImplementedError, match="random_kernel_cpu"):
        Generator().random(3, dtype="uint16")
    with pytest.raises(TypeError, match="size"):
        Generator().randint(3)


def test_a_floating_dtype_that_cannot_hold_the_range_warns():
    with pytest.warns(UserWarning, match=r"to - 1 is out of bounds \[-\(2\^11\), 2\^11\]"):
        Generator().randint(0, 5000, 3, "float16")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Generator().randint(0, 2048, 3, "float16")
