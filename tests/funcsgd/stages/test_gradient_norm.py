"""The total norm, against torch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from funcsgd.stages import get_total_norm
from tests.support.sampling import one_in


def differing(trees, norm_type=2.0):
    """How many of the norms differ from torch's."""
    total_norm = jax.jit(get_total_norm, static_argnums=1)
    wanted = [torch.nn.utils.get_total_norm([torch.from_numpy(x) for x in tree], norm_type).numpy() for tree in trees]
    return sum(int(np.asarray(total_norm(tree, norm_type)) != norm) for tree, norm in zip(trees, wanted, strict=True))


def test_by_hand():
    assert float(get_total_norm({"w": jnp.array([[1.0, 2.0]]), "b": jnp.array([2.0]), "absent": None})) == 3.0


@pytest.mark.parametrize("dtype", one_in(2, ["float32", "float64"]))
def test_many_leaves(x64, dtype):
    rng = np.random.default_rng(0)
    assert differing([[rng.normal(size=n).astype(dtype) for n in rng.integers(1, 60, 19)] for _ in range(3)]) == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("norm_type", [float("inf"), float("-inf"), 0.0, "inf"])
def test_norms_without_rounding(x64, norm_type, dtype):
    rng = np.random.default_rng(0)
    trees = [[rng.integers(-3, 4, shape).astype(dtype) for shape in ((1,), (7,), (64, 33))] for _ in range(3)]
    assert differing(trees, norm_type) == 0


@pytest.mark.parametrize("norm_type", [1.0, 3.0, 0.5, -2.0])
def test_other_norms_are_equal_but_for_rounding(x64, norm_type):
    rng = np.random.default_rng(0)
    tree = [np.abs(rng.normal(size=shape)) + 0.1 for shape in ((3,), (64, 33))]
    norm = torch.nn.utils.get_total_norm([torch.from_numpy(x) for x in tree], norm_type)
    # A sum of n positive terms is off by n eps at most, and so is its power, times 1 / |p|; each side may be.
    bound = 2 * 64 * 33 * np.finfo(float).eps * max(1, 1 / abs(norm_type))
    assert float(get_total_norm(tree, norm_type)) == pytest.approx(float(norm), rel=bound)


@pytest.mark.parametrize("values", [[1e-30], [1e25], [-0.0], [np.nan, 1.0], [np.inf, 1.0], [1e25, 1.0], [1e-30, 0.0]])
@pytest.mark.parametrize("norm_type", [2.0, float("inf"), 0.0])
def test_extremes(values, norm_type):
    x = np.array(values, "float32")
    norm = torch.nn.utils.get_total_norm([torch.from_numpy(x)], norm_type).numpy()
    assert np.array_equal(np.asarray(get_total_norm([x], norm_type)), norm, equal_nan=True)


def test_no_leaves_and_empty_leaves():
    assert float(get_total_norm({})) == float(torch.nn.utils.get_total_norm([])) == 0.0
    assert float(get_total_norm([jnp.zeros(0), jnp.ones(4)])) == 2.0
    with pytest.raises(ValueError, match="does not have an identity"):
        get_total_norm([jnp.zeros(0)], float("inf"))


def test_order_follows_torchs_parameters():
    rng = np.random.default_rng(0)
    sizes = {"2.weight": 9, "2.bias": 8, "0.weight": 33, "0.bias": 3, "10.weight": 70}  # not as a dict is sorted
    in_order = jax.jit(lambda tree: get_total_norm(tree, order=list(sizes)))
    sorted_by_key = jax.jit(get_total_norm)
    unequal = 0
    for _ in range(40):
        named = {name: rng.normal(size=n).astype("float32") for name, n in sizes.items()}
        norm = torch.nn.utils.get_total_norm([torch.from_numpy(x) for x in named.values()]).numpy()
        assert np.asarray(in_order(named)) == norm
        unequal += int(np.asarray(sorted_by_key(named)) != norm)
    assert unequal > 0


def test_order_names_nested_leaves_and_may_name_absent_ones():
    tree = {"dense": {"kernel": jnp.array([3.0]), "bias": None}, "out": [jnp.array([4.0])]}
    assert float(get_total_norm(tree, order=["out.0", "dense.kernel", "dense.bias"])) == 5.0


@pytest.mark.parametrize("order", [["a"], ["a", "b", "b"]])
def test_an_order_that_does_not_fit_is_refused(order):
    with pytest.raises(ValueError, match="order must name every leaf once"):
        get_total_norm({"a": jnp.ones(1), "b": jnp.ones(1)}, order=order)


def test_mixed_dtypes_are_promoted(x64):
    tree = [np.array([3.0], "float32"), np.array([4.0])]
    norm = torch.nn.utils.get_total_norm([torch.from_numpy(x) for x in tree])
    assert (get_total_norm(tree).dtype, float(get_total_norm(tree))) == (jnp.float64, float(norm))
