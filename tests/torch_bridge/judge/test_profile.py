import numpy as np

from torch_bridge.judge.differences import Quantity
from torch_bridge.judge.profile import BINS, NAMES, profile_of


def quantity(key, distances, size=2.0):
    distances = np.array(distances, float)
    steps = np.flatnonzero(np.nan_to_num(distances, nan=1.0))
    return Quantity(key, 1, len(steps), steps, None, None, distances, np.full(len(distances), size))


def test_a_short_run_keeps_each_step():
    profile = profile_of(
        [quantity("gradient/a", [0, 2, 1]), quantity("gradient/b", [0, 4, 0]), quantity("loss", [0, 0, 0])]
    )
    assert profile.starts == (0, 1, 2)
    gradient, loss = profile.curves
    assert (gradient.phase, gradient.low, gradient.high) == ("gradient", (0, 2, 0.5), (0, 2, 0.5))
    assert loss.high == (0, 0, 0)
    assert [(c.phase, c.name, c.distance, c.first, c.steps) for c in profile.cells] == [
        ("gradient", "a", 1.0, 1, 2), ("gradient", "b", 2.0, 1, 1), ("loss", "", 0.0, None, 0),
    ]  # fmt: skip


def test_a_long_run_keeps_the_extremes_of_each_bin():
    distances = np.random.default_rng(0).uniform(1, 2, 100_003)
    distances[70_001] = 1e6
    curve = profile_of([quantity("loss", distances, size=1.0)]).curves[0]
    assert len(curve.high) == BINS
    assert max(curve.high) == 1e6
    assert min(curve.low) < 1.001


def test_of_many_parameters_the_furthest_have_cells():
    profile = profile_of([quantity(f"parameter/{i}", [i]) for i in range(NAMES + 30)])
    assert (len(profile.cells), profile.left_out) == (NAMES, 30)
    assert min(cell.distance for cell in profile.cells) == 15.0


def test_an_unknown_distance_stays_unknown():
    profile = profile_of([quantity("parameter/a", [0, np.nan, 1])])
    assert np.isnan(profile.curves[0].high[1])
    assert np.isnan(profile.cells[0].distance)
    assert profile.cells[0].first == 1
