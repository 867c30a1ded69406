import numpy as np
import pytest
import torch
from torch.nn import init as torch_init

from torch_bridge import init
from torch_bridge.random import Generator, default_generator, fork_rng, manual_seed


def assert_same_fill(torch_fill, our_fill, shape, *args, seeds=(0, 1, -3), dtype="float32", **kwargs):
    with fork_rng():
        for seed in seeds:
            torch.manual_seed(seed)
            manual_seed(seed)
            theirs = torch_fill(torch.empty(shape, dtype=getattr(torch, dtype)), *args, **kwargs).numpy()
            ours = our_fill(shape, *args, **kwargs, dtype=dtype)
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs, strict=True)
            np.testing.assert_array_equal(default_generator.get_state(), torch.get_rng_state().numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 5), (20, 30), (8, 4, 3, 3)])
def test_distributions(shape, dtype):
    assert_same_fill(torch_init.uniform_, init.uniform, shape, -0.1, 0.3, dtype=dtype)
    assert_same_fill(torch_init.normal_, init.normal, shape, 0.5, 0.02, dtype=dtype)
    assert_same_fill(torch_init.constant_, init.constant, shape, 0.1, dtype=dtype)
    assert_same_fill(torch_init.ones_, init.ones, shape, dtype=dtype)
    assert_same_fill(torch_init.zeros_, init.zeros, shape, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [(0.0, 1.0, -2.0, 2.0), (0.0, 0.02, -2.0, 2.0), (0.1, 1.0, 0.0, 1.0), (0.0, 1.0, 1.0, 3.0), (0.0, 1.0, 1.9, 2.0)],
)
@pytest.mark.parametrize("shape", [(3, 5), (40, 50)])
def test_truncated_normals(shape, mean, std, a, b, dtype):
    assert_same_fill(torch_init.trunc_normal_, init.trunc_normal, shape, mean, std, a, b, dtype=dtype)


def test_truncation_far_from_the_mean_warns():
    with pytest.warns(UserWarning, match="mean is more than 2 std"):
        init.trunc_normal((3, 5), 0.0, 1.0, 2.5, 3.0, Generator())


def test_patterns():
    assert_same_fill(torch_init.eye_, init.eye, (3, 5))
    for shape, groups in (((4, 2, 3), 1), ((4, 2, 3, 3), 2), ((6, 2, 3, 2, 5), 3), ((2, 5, 4), 1)):
        assert_same_fill(torch_init.dirac_, init.dirac, shape, groups)
    for sparsity in (0.0, 0.1, 0.55, 1.0):
        assert_same_fill(torch_init.sparse_, init.sparse, (7, 9), sparsity)


def test_sparse_draws_its_zeros_from_the_default_stream():
    with fork_rng():
        torch.manual_seed(0)
        manual_seed(0)
        theirs = torch_init.sparse_(torch.empty(5, 6), 0.4, generator=torch.Generator().manual_seed(1))
        np.testing.assert_array_equal(init.sparse((5, 6), 0.4, generator=Generator(1)), theirs.numpy())
        np.testing.assert_array_equal(default_generator.get_state(), torch.get_rng_state().numpy())


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6), (8, 3, 2, 2), (50, 40), (1, 5)])
def test_orthogonal(shape):
    """Rounding: a QR factorisation is backward stable, so the factors agree to a small multiple of n eps cond(A)."""
    with fork_rng():
        for seed in range(5):
            torch.manual_seed(seed)
            manual_seed(seed)
            theirs = torch_init.orthogonal_(torch.empty(shape), 1.5).numpy().reshape(shape[0], -1)
            ours = init.orthogonal(shape, 1.5).reshape(shape[0], -1)
            np.testing.assert_array_equal(default_generator.get_state(), torch.get_rng_state().numpy())
            drawn = Generator(seed).normal(0, 1, theirs.shape).astype(np.float64)
            bound = 2 * max(theirs.shape) * np.finfo(np.float32).eps * np.linalg.cond(drawn)
            assert np.abs(ours - theirs).max() <= 1.5 * bound


def test_nothing_to_factor():
    assert init.orthogonal((0, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("torch_fill", "our_fill", "shape", "args"),
    [
        (torch_init.eye_, init.eye, (3,), ()),
        (torch_init.dirac_, init.dirac, (3, 3), ()),
        (torch_init.dirac_, init.dirac, (3, 3, 3), (2,)),
        (torch_init.sparse_, init.sparse, (3,), (0.5,)),
        (torch_init.orthogonal_, init.orthogonal, (3,), ()),
    ],
)
def test_refused_as_torch_refuses(torch_fill, our_fill, shape, args):
    with pytest.raises(ValueError) as theirs:  # noqa: PT011 (the message is compared)
        torch_fill(torch.empty(shape), *args)
    with pytest.raises(ValueError) as ours:  # noqa: PT011
        our_fill(shape, *args)
    assert str(ours.value) == str(theirs.value)
