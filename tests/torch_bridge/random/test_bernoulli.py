import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.support.against_torch import DTYPES, assert_same_draw, message_of
from torch_bridge.random import Generator


@pytest.mark.parametrize("dtype", [*DTYPES, "int64", "uint8", "bool"])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_one_probability(dtype, p):
    assert_same_draw(
        lambda: torch.empty(1001, dtype=getattr(torch, dtype)).bernoulli_(p),
        lambda g: g.bernoulli(p, 1001, dtype),
        seeds=(0, 1, -3),
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_probability_each(dtype):
    p = torch.linspace(0, 1, 777).to(DTYPES[dtype])
    # bfloat16 reaches NumPy by way of float32, which holds all of it.
    ours = p.float().numpy().astype(Generator().rand(1, dtype=dtype).dtype) if dtype != "float64" else p.numpy()
    assert_same_draw(lambda: torch.bernoulli(p), lambda g: g.bernoulli(ours))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.0, 0.1, 0.3, 0.5, 0.9, 1.0])
def test_dropout(dtype, p):
    assert_same_draw(
        lambda: F.dropout(torch.ones(7, 100, dtype=DTYPES[dtype]), p),
        lambda g: g.dropout_mask((7, 100), p, dtype),
        seeds=(0, 1, -3),
    )


def test_dropout_in_other_shapes():
    assert_same_draw(
        lambda: F.dropout(torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last)),
        lambda g: g.dropout_mask((2, 3, 4, 5), memory_order="channels_last"),
        seeds=(0, 1),
    )
    assert_same_draw(
        lambda: F.dropout2d(torch.ones(6, 7, 4, 5), 0.3)[:, :, :1, :1],
        lambda g: g.dropout_mask((6, 7, 1, 1), 0.3),
        seeds=(0, 1),
    )


def test_refused_as_torch_refuses():
    g = Generator()
    for p in (-0.5, 1.5):
        assert message_of(RuntimeError, lambda p=p: g.bernoulli(p, 3)) == message_of(
            RuntimeError, lambda p=p: torch.empty(3).bernoulli_(p)
        )
        assert message_of(ValueError, lambda p=p: g.dropout_mask(3, p)) == message_of(
            ValueError, lambda p=p: F.dropout(torch.ones(3), p)
        )
    with pytest.raises(RuntimeError, match="p_in >= 0 && p_in <= 1"):
        g.bernoulli(np.array([0.1, 2.0]))
    assert message_of(NotImplementedError, lambda: g.bernoulli(np.array([0, 1]))) == message_of(
        NotImplementedError, lambda: torch.bernoulli(torch.tensor([0, 1]))
    )
    assert message_of(RuntimeError, lambda: g.dropout_mask(3, 0.5, "int64")) == message_of(
        RuntimeError, lambda: F.dropout(torch.ones(3, dtype=torch.int64))
    )
