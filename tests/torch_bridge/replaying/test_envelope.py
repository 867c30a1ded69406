import numpy as np
import pytest
from scipy import stats

from torch_bridge.replaying.envelope import CHANCE, Envelope, distance, one_ulp


def test_distance_by_hand():
    assert distance(np.array([1.0, 2.0]), np.array([4.0, -2.0])) == 5.0
    assert distance(np.array([1 + 1j]), np.array([4 + 5j])) == 5.0
    assert distance(np.array([]), np.array([])) == 0.0


def test_distance_of_what_is_not_finite():
    nan, inf = np.array([np.nan]), np.array([np.inf])
    assert distance(nan, nan) == distance(inf, inf) == 0.0
    assert distance(nan, np.zeros(1)) == distance(inf, -inf) == distance(inf, np.zeros(1)) == np.inf


def test_distance_does_not_overflow_or_underflow():
    assert distance(np.float32([3e38]), np.float32([-3e38])) == pytest.approx(6e38)
    assert distance(np.float32([1e-38]), np.float32([0.0])) == pytest.approx(1e-38)


def test_one_ulp_by_hand():
    assert one_ulp(np.float32([1.0, 2.0])) == np.hypot(2.0**-23, 2.0**-22)
    assert one_ulp(np.array([1, 2])) == 0.0


def envelope(rng, n_steps=200, n_shadows=16, spread=0.4):
    rows = np.exp(rng.normal(np.linspace(-16, -10, n_steps)[:, None], spread, (n_steps, n_shadows)))
    return Envelope({"parameter/w": rows}, {"parameter/w": np.full(n_steps, 1e-12)})


def test_limit_is_students_prediction_interval_where_the_step_has_the_larger_spread():
    rows = np.exp(np.array([[-10.0, -11.0, -12.0, -11.0], [-11.0, -11.0, -11.0, -11.0]]))
    limit = Envelope({"k": rows}, {"k": np.zeros(2)}).limits()["k"]
    logs = np.log(rows[0])
    reach = stats.t.isf(CHANCE / 2, 3) * logs.std(ddof=1) * np.sqrt(1.25)
    assert limit[0] == pytest.approx(np.exp(logs.mean() + reach))
    assert limit[1] > np.exp(-11.0)  # shadows that fall on one number do not make the limit that number


def test_one_more_run_of_the_kind_stays_inside():
    rng = np.random.default_rng(0)
    left = 0
    for _ in range(300):
        limits = envelope(rng).limits()["parameter/w"]
        run = np.exp(rng.normal(np.linspace(-16, -10, 200), 0.4))
        left += bool((run > limits).any())
    # The promised chance is CHANCE a run; 300 runs may see none, one or, with luck against us, two.
    assert stats.binom.sf(left - 1, 300, CHANCE) > 1e-4 or left == 0


def test_a_run_of_another_kind_is_outside():
    limits = envelope(np.random.default_rng(1)).limits()["parameter/w"]
    assert (np.exp(np.linspace(-16, -10, 200) + 15 * 0.4) > limits).all()  # fifteen standard deviations off


def test_the_floor_is_what_the_format_resolves():
    silent = Envelope({"loss": np.zeros((3, 4))}, {"loss": np.full(3, 1e-7)})
    assert silent.limits()["loss"].tolist() == pytest.approx([1e-7] * 3)


def test_arrays_and_back():
    first = envelope(np.random.default_rng(2))
    again = Envelope.from_arrays({**first.to_arrays(), "pixels": np.zeros(3)})
    assert again is not None
    np.testing.assert_array_equal(again.limits()["parameter/w"], first.limits()["parameter/w"])
    assert Envelope.from_arrays({"pixels": np.zeros(3)}) is None
