"""Two traces -> their differences: how many, how far, and where the first and the largest stand."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from torch_bridge.replaying.envelope import distance, wide
from torch_bridge.trace.dtypes import same_bits
from torch_bridge.trace.phases import name_of, phase_of
from torch_bridge.trace.trace import Array, Trace


@dataclass(frozen=True)
class Difference:
    """One element in which two runs differ.

    Attributes:
        step: from 0.
        phase: one of `PHASES`.
        name: the parameter (or group) by its torch name; empty for a quantity of the whole run.
        index: the element, in torch's layout; empty for a scalar, or where only digests could be compared.
        reference: torch's value; None where that side lacks the quantity or kept a digest only.
        candidate: the value on the other side, likewise.
        ulps: how many representable numbers lie between them, plus one; None if either is missing or NaN.
    """

    step: int
    phase: str
    name: str
    index: tuple[int, ...] = ()
    reference: float | complex | None = None
    candidate: float | complex | None = None
    ulps: int | None = None


@dataclass(frozen=True)
class Quantity:
    """The comparison of one quantity over a whole run.

    Attributes:
        key: ``phase/name``.
        elements: number of values compared, over all steps.
        differing: number of values that differ in some bit.
        differing_steps: the steps in which some bit differs, int64.
        first: in the first differing step, the element that is furthest off; or None.
        worst: the largest difference in ulps of the whole run, or None.
        distances: float64 ``(n_steps,)``, the 2-norm of the difference; NaN where only digests could be compared.
        sizes: float64 ``(n_steps,)``, the 2-norm of the reference at the steps that differ, 1 at the others.
    """

    key: str
    elements: int
    differing: int
    differing_steps: Array
    first: Difference | None
    worst: Difference | None
    distances: Array
    sizes: Array

    @property
    def relative(self) -> Array:
        """Each step's distance as a share of the reference's norm, float64 ``(n_steps,)``."""
        with np.errstate(invalid="ignore"):
            return self.distances / np.where(self.sizes > 0, self.sizes, 1.0)


def ulp_distance(reference: Array, candidate: Array) -> Array:
    """Return, element by element, how many steps through the representable numbers lead from one to the other.

    Equal bits are 0 apart, neighbours 1, and -0.0 and 0.0 are neighbours. NaN is 0 from NaN and the largest distance
    from anything else.

    Args:
        reference: floating array (real); or integers, whose distance is their difference.
        candidate: array of the same shape and dtype.

    Returns:
        uint64 array.
    """
    left, right = np.asarray(reference), np.asarray(candidate)
    if not _is_real_floating(left.dtype):
        return np.abs(left.astype(np.int64) - right.astype(np.int64)).astype(np.uint64)
    near, far = _rank(left), _rank(right)
    gap = np.where(near > far, near - far, far - near)
    nan_left, nan_right = np.isnan(left), np.isnan(right)
    gap = np.where(nan_left & nan_right, np.uint64(0), gap)
    return np.asarray(np.where(nan_left ^ nan_right, np.iinfo(np.uint64).max, gap))


def _is_real_floating(dtype: np.dtype[Any]) -> bool:
    return np.issubdtype(dtype, np.floating) or dtype.name == "bfloat16"


def _rank(array: Array) -> Array:
    """Each floating number's place in the order of all of its format, as uint64."""
    bits = np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}").astype(np.uint64)
    sign = np.uint64(1) << np.uint64(array.dtype.itemsize * 8 - 1)
    below_sign = sign - np.uint64(1)
    return np.where(bits & sign, below_sign - (bits & below_sign), bits | sign)


class _Running:
    """The comparison of one quantity, step after step. What is held grows by 24 bytes for a step that differs."""

    def __init__(self, reference: Trace, candidate: Trace, key: str) -> None:
        self._reference, self._candidate, self._key = reference, candidate, key
        self._steps, self._distances, self._sizes = array("q"), array("d"), array("d")
        self._worst: Difference | None = None
        self._elements = self._differing = 0

    def step(self, t: int) -> None:
        reference, candidate, key = self._reference, self._candidate, self._key
        left, right = _pair(reference, candidate, key, t)
        if left is None or right is None:
            if not reference.same_bits(candidate, key, t):
                both = reference.has(key, t) and candidate.has(key, t)
                self._differs(t, np.nan if both else np.inf, 1.0)
            return
        self._elements += left.size
        if same_bits(left, right):
            return
        gaps = _gaps(left, right)
        if gaps is None or gaps.any():
            self._differing += left.size if gaps is None else int(np.count_nonzero(gaps))
            self._differs(t, np.inf if gaps is None else distance(left, right), distance(left, np.zeros_like(left)))
            if gaps is not None and (self._worst is None or gaps.max() > (self._worst.ulps or 0)):
                self._worst = _element(t, key, left, right, gaps, int(np.argmax(gaps)))

    def result(self, n_steps: int) -> Quantity:
        steps = np.array(self._steps, np.int64)
        distances, sizes = np.zeros(n_steps), np.ones(n_steps)
        distances[steps], sizes[steps] = self._distances, self._sizes
        first = difference_at(self._reference, self._candidate, self._key, int(steps[0])) if steps.size else None
        return Quantity(self._key, self._elements, self._differing, steps, first, self._worst, distances, sizes)

    def _differs(self, t: int, distance: float, size: float) -> None:
        self._steps.append(t)
        self._distances.append(distance)
        self._sizes.append(size)


def compare_quantities(
    reference: Trace, candidate: Trace, progress: Callable[[], None] = lambda: None
) -> list[Quantity]:
    """Compare every quantity that both traces observed, in causal order, over all steps that both have.

    The traces are read step by step, and no step is held.

    Args:
        reference: a trace.
        candidate: another.
        progress: called after each step.

    Raises:
        ValueError: the traces have no quantity in common, or a quantity's shapes differ.
    """
    keys = [key for key in reference.keys if key in candidate.steps]
    if not keys:
        raise ValueError(
            f"nothing to compare: one trace has {', '.join(reference.keys) or 'no quantity'}, the other "
            f"{', '.join(candidate.keys) or 'none'}; were the parameters given torch's names (weights=)?"
        )
    n_steps = min(reference.n_steps, candidate.n_steps)
    running = [_Running(reference, candidate, key) for key in keys]
    for t in range(n_steps):
        for each in running:
            each.step(t)
        progress()
    return [each.result(n_steps) for each in running]


def difference_at(reference: Trace, candidate: Trace, key: str, step: int) -> Difference:
    """Return the element of a quantity that is furthest off, in value, at a step in which it differs."""
    left, right = _pair(reference, candidate, key, step)
    if left is None or right is None:
        return Difference(step, phase_of(key), name_of(key))
    gaps = _gaps(left, right)
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(wide(left) - wide(right))
    off = np.where(np.isnan(off), np.inf if gaps is None else gaps.astype(np.float64), off)
    return _element(step, key, left, right, gaps, int(np.argmax(off)))


def first_difference(quantities: list[Quantity]) -> Difference | None:
    """Return the earliest difference: by step, then as the quantities are ordered, which is causally."""
    return min((q.first for q in quantities if q.first is not None), key=lambda d: d.step, default=None)


def _pair(reference: Trace, candidate: Trace, key: str, step: int) -> tuple[Array | None, Array | None]:
    left, right = reference.value(key, step), candidate.value(key, step)
    if left is None or right is None:
        return left, right
    if phase_of(key) == "data" and left.ndim == right.ndim == 1:
        left, right = (_padded(each, max(left.size, right.size)) for each in (left, right))  # a batch of another size
    if left.shape != right.shape:
        raise ValueError(f"{key} has shape {left.shape} in one trace and {right.shape} in the other")
    if phase_of(key) in reference.numbers and _is_real_floating(right.dtype):
        left = left.astype(right.dtype)  # torch keeps a double, and casts it once, to the parameters' type
    return left, right


def _padded(indices: Array, size: int) -> Array:
    return np.pad(indices, (0, size - indices.size), constant_values=-1)


def _gaps(left: Array, right: Array) -> Array | None:
    """Distances in ulps; None between different dtypes, where there is no such thing."""
    if left.dtype != right.dtype:
        return None
    if np.iscomplexobj(left):
        return np.maximum(ulp_distance(left.real, right.real), ulp_distance(left.imag, right.imag))
    return ulp_distance(left, right)


def _element(step: int, key: str, left: Array, right: Array, gaps: Array | None, position: int) -> Difference:
    index = tuple(int(i) for i in np.unravel_index(position, left.shape))
    ulps = None if gaps is None else int(gaps.ravel()[position])
    values = (_number(left.ravel()[position]), _number(right.ravel()[position]))
    return Difference(step, phase_of(key), name_of(key), index, *values, ulps)


def _number(value: Any) -> float | complex:
    return complex(value) if np.iscomplexobj(value) else float(value)
