import ml_dtypes
import numpy as np
import pytest

from torch_bridge.judge.differences import compare_quantities, first_difference, ulp_distance
from torch_bridge.trace.builder import TraceBuilder
from torch_bridge.trace.keep import Keep


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_ulps_count_the_numbers_in_between(dtype):
    one = np.array([1.0, 0.0, -1.0], dtype)
    bits = one.view(f"i{one.dtype.itemsize}")
    there = (bits + np.array([5, 3, 2], bits.dtype)).view(dtype)
    assert ulp_distance(one, there).tolist() == [5, 3, 2]
    assert ulp_distance(there, one).tolist() == [5, 3, 2]


def test_ulps_across_zero_and_at_the_edges():
    def apart(a, b):
        return int(ulp_distance(np.float32([a]), np.float32([b]))[0])

    tiny = np.float32(1e-45)
    assert apart(-0.0, 0.0) == 1
    assert apart(-tiny, tiny) == 3
    assert apart(np.finfo(np.float32).max, np.inf) == 1
    assert apart(np.nan, np.nan) == 0
    assert apart(np.nan, 1.0) == np.iinfo(np.uint64).max
    assert int(ulp_distance(np.array([3]), np.array([-4]))[0]) == 7


def test_ulps_agree_with_nextafter():
    x = np.random.default_rng(0).standard_normal(100).astype(np.float32) * np.float32(1e-3)
    y = x
    for n in range(1, 4):
        y = np.nextafter(y, np.float32(np.inf))
        assert (ulp_distance(x, y) == n).all()


def trace(change=(), **options):
    builder = TraceBuilder({"shapes": {"w": [2, 2]}}, **options)
    changes = {(step, key): value for step, key, value in change}
    for t in range(4):
        step = {
            "loss": np.float32(1 + t),
            "gradient/w": np.ones((2, 2), np.float32),
            "learning_rate/0": np.float64(0.1),
        }
        step |= {"parameter/w": np.ones((2, 2), np.float32) * t}
        for key in list(step):
            if (t, key) in changes:
                step[key] = changes[t, key](step[key].copy())
        builder.append({key: value for key, value in step.items() if value is not None})
    return builder.build()


def nudged(array):
    array[1, 0] = np.nextafter(array[1, 0], np.float32(9))
    return array


def test_equal_traces_have_no_difference():
    quantities = compare_quantities(trace(), trace())
    assert first_difference(quantities) is None
    assert sum(q.elements for q in quantities) == 4 * (1 + 4 + 1 + 4)


def test_finds_step_phase_parameter_index_and_distance():
    other = trace([(2, "parameter/w", nudged), (2, "gradient/w", nudged), (3, "loss", lambda x: x * 2)])
    found = first_difference(compare_quantities(trace(), other))
    assert (found.step, found.phase, found.name, found.index, found.ulps) == (2, "gradient", "w", (1, 0), 1)
    assert (found.reference, found.candidate) == (1.0, 1 + 2.0**-23)


def test_the_element_furthest_off_is_named_not_the_one_with_most_ulps():
    def change(array):
        array[0, 0], array[1, 1] = 1.5, np.float32(1e-30)
        return array

    def start(array):
        array[1, 1] = 0.0
        return array

    a, b = trace([(0, "gradient/w", start)]), trace([(0, "gradient/w", change)])
    (gradient,) = (q for q in compare_quantities(a, b) if q.key == "gradient/w")
    assert gradient.first.index == (0, 0)
    assert gradient.worst.index == (1, 1)
    assert gradient.differing == 2


def test_digests_show_that_values_differ_and_kept_values_how():
    other = trace([(1, "parameter/w", nudged), (2, "parameter/w", nudged)], keep=Keep("digest", every=3))
    (parameter,) = (q for q in compare_quantities(trace(), other) if q.key == "parameter/w")
    assert parameter.differing_steps.tolist() == [1, 2]
    assert parameter.first.index == ()
    assert np.isnan(parameter.distances[1])
    assert parameter.distances[2] > 0
    assert parameter.worst.step == 2


def test_a_learning_rate_is_compared_after_its_cast():
    assert (
        first_difference(compare_quantities(trace(), trace([(t, "learning_rate/0", np.float32) for t in range(4)])))
        is None
    )


def test_a_missing_value_and_another_dtype_are_differences():
    missing = trace([(1, "parameter/w", lambda _: None)])
    assert first_difference(compare_quantities(trace(), missing)).step == 1
    wide = trace([(t, "parameter/w", lambda x: x.astype(np.float64)) for t in range(4)])
    found = first_difference(compare_quantities(trace(), wide))
    assert (found.step, found.phase, found.ulps) == (0, "parameter", None)


def test_traces_that_cannot_be_compared_are_refused():
    builder = TraceBuilder({})
    builder.append({"parameter/other": np.zeros(2)})
    with pytest.raises(ValueError, match="nothing to compare"):
        compare_quantities(trace(), builder.build())
    flat = trace([(t, "parameter/w", np.ravel) for t in range(4)])
    with pytest.raises(ValueError, match=r"shape \(2, 2\) in one trace and \(4,\)"):
        compare_quantities(trace(), flat)
