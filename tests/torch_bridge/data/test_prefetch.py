import jax
import numpy as np
import pytest

from torch_bridge.data import prefetch_to_device, with_progress


@pytest.mark.parametrize("size", [1, 2, 5])
def test_batches_come_in_order_on_the_device(size):
    taken = []

    def batches():
        for i in range(4):
            taken.append(i)
            yield {"x": np.full(3, i)}

    out = prefetch_to_device(batches(), size)
    first = next(out)
    assert taken == list(range(min(size, 4)))
    assert isinstance(first["x"], jax.Array)
    assert [int(batch["x"][0]) for batch in (first, *out)] == [0, 1, 2, 3]


def test_a_size_of_nothing():
    with pytest.raises(ValueError, match="size=0"):
        prefetch_to_device([], 0)


def test_a_progress_bar_changes_nothing(capsys):
    assert list(with_progress(range(3), "training")) == [0, 1, 2]
    assert list(with_progress(iter(range(3)), disable=True)) == [0, 1, 2]
