import numpy as np
import pytest
import torch

from tests.support.against_torch import assert_same_draw, message_of
from torch_bridge.random import Generator

WEIGHTS = np.random.default_rng(0).random(300)
CASES = [(500, True), (1, True), (300, False), (10, False), (1, False)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("num_samples", "replacement"), CASES)
def test_one_row(dtype, num_samples, replacement):
    weights = WEIGHTS.astype(dtype)
    assert_same_draw(
        lambda: torch.multinomial(torch.from_numpy(weights), num_samples, replacement),
        lambda g: g.multinomial(weights, num_samples, replacement),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("num_samples", "replacement"), [(70, True), (1, True), (75, False), (0, False)][:3])
def test_rows(dtype, num_samples, replacement):
    weights = WEIGHTS.reshape(4, 75).astype(dtype)
    assert_same_draw(
        lambda: torch.multinomial(torch.from_numpy(weights), num_samples, replacement),
        lambda g: g.multinomial(weights, num_samples, replacement),
        seeds=(0, 1, -3),
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_dtypes_with_replacement(dtype):
    tensor = torch.from_numpy(WEIGHTS).to(getattr(torch, dtype))
    ours = tensor.float().numpy().astype(Generator().rand(1, dtype=dtype).dtype)
    assert_same_draw(
        lambda: torch.multinomial(tensor, 500, True), lambda g: g.multinomial(ours, 500, True), seeds=(0, 1, -3)
    )


def test_a_weight_of_zero():
    weights = np.array([0.0, 1.0, 2.0, 0.0, 3.0])
    for num_samples, replacement in ((50, True), (3, False), (1, True)):
        assert_same_draw(
            lambda k=num_samples, r=replacement: torch.multinomial(torch.from_numpy(weights), k, r),
            lambda g, k=num_samples, r=replacement: g.multinomial(weights, k, r),
        )


def test_no_rows():
    assert Generator().multinomial(np.ones((0, 3)), 2).shape == (0, 2)


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize(
    ("weights", "num_samples"),
    [
        ([1.0, -1.0], 2),
        ([0.0, 0.0], 2),
        ([0.0, 0.0], 1),
        ([1.0, np.inf, 2.0], 2),
        ([1.0, np.nan, 2.0], 2),
        ([1.0, 2.0], 0),
        (1.0, 1),
        (np.ones((2, 2, 2)), 1),
    ],
)
def test_refused_as_torch_refuses(weights, num_samples, replacement):
    weights = np.asarray(weights)
    expected = message_of(RuntimeError, lambda: torch.multinomial(torch.tensor(weights), num_samples, replacement))
    assert message_of(RuntimeError, lambda: Generator().multinomial(weights, num_samples, replacement)) == expected


def test_other_refusals():
    for weights, num_samples in ((np.array([1, 2]), 1), (np.ones(2), 3)):
        expected = message_of(RuntimeError, lambda w=weights, k=num_samples: torch.multinomial(torch.from_numpy(w), k))
        actual = message_of(RuntimeError, lambda w=weights, k=num_samples: Generator().multinomial(w, k))
        assert actual == expected
