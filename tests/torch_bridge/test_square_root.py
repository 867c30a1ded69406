"""torch_root names what it knows, measures what it does not, and refuses what is no function of the value."""

import numpy as np
import pytest
import torch

from funcsgd.arithmetic import SquareRoot, sqrt, square_root
from torch_bridge.square_root import UnknownRoot, torch_root

measure = torch_root.__wrapped__  # without the memory of an earlier call


def in_torch(monkeypatch, function):
    monkeypatch.setattr(torch, "sqrt", lambda x: torch.from_numpy(np.array(function(x.numpy()))))


@pytest.mark.parametrize("name", ["correct", "mkl_avx512"])
def test_known_roots_are_named(monkeypatch, name):
    in_torch(monkeypatch, lambda x: sqrt(x, square_root(name)))
    assert measure() is square_root(name)


def test_another_root_is_measured(monkeypatch):
    def one_too_high_for_one_value(x):
        found = np.sqrt(x)
        is_three = (x.view(np.uint32) & 0xFFFFFF) == (np.float32(3).view(np.uint32) & 0xFFFFFF)
        return np.where(is_three, np.nextafter(found, np.float32(np.inf)), found)

    in_torch(monkeypatch, one_too_high_for_one_value)
    root = measure()
    assert isinstance(root, SquareRoot)
    assert (root.name, root.n_wrong) == ("measured", 1)
    assert float(sqrt(np.float32(12), root)) == np.nextafter(np.sqrt(np.float32(12)), np.float32(4))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.sqrt(x) * np.float32(1.0001),
        lambda x: np.where(x > 1e10, np.nextafter(np.sqrt(x), np.float32(0)), np.sqrt(x)),
    ],
    ids=["far from the root", "another one for large numbers"],
)
def test_what_is_no_such_root_is_refused(monkeypatch, function):
    in_torch(monkeypatch, function)
    with pytest.raises(UnknownRoot, match="no root of this library can equal it"):
        measure()
