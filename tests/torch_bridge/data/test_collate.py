from collections import OrderedDict
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate as torch_collate

from torch_bridge.data import default_collate


class Pair(NamedTuple):
    x: float
    y: int


def as_lists(tree):
    """Arrays as (dtype, list), for comparison by ==."""
    if isinstance(tree, np.ndarray | torch.Tensor):
        return str(tree.dtype).removeprefix("torch."), tree.tolist()
    if isinstance(tree, dict):
        return {key: as_lists(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [as_lists(value) for value in tree]
    return tree


@pytest.mark.parametrize(
    "batch",
    [
        [1, 2],
        [1.5, 2.0],
        [True, False],
        ["a", "b"],
        [b"a", b"b"],
        [np.float32(1), np.float32(2)],
        [np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)],
        [(1, 2.0), (3, 4.0)],
        [[1, 2], [3, 4]],
        [{"a": 1, "b": (2, "x")}, {"a": 3, "b": (4, "y")}],
        [Pair(1.0, 2), Pair(3.0, 4)],
        [OrderedDict(a=1), OrderedDict(a=2)],
    ],
)
def test_as_torch_collates(batch):
    ours, theirs = default_collate(batch), torch_collate(batch)
    assert as_lists(ours) == as_lists(theirs)
    if not isinstance(ours, np.ndarray | tuple):
        assert type(ours) is type(theirs)


def test_arrays_of_other_libraries():
    assert default_collate([jnp.ones(2), jnp.zeros(2)]).tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(("batch", "error"), [([None, None], TypeError), ([[1], [1, 2]], RuntimeError)])
def test_refused_as_torch_refuses(batch, error):
    with pytest.raises(error) as theirs:
        torch_collate(batch)
    with pytest.raises(error) as ours:
        default_collate(batch)
    assert str(ours.value) == str(theirs.value)


def test_arrays_of_strings_are_refused():
    with pytest.raises(TypeError, match="found <U1"):
        default_collate([np.array(["a"]), np.array(["b"])])
