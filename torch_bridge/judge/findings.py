"""The findings on one quantity of one step, and the limits for its verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from torch_bridge.trace.phases import name_of, phase_of
from torch_bridge.trace.trace import Array, Step, Trace

SPARE = 1e3
"""By what factor float64's own rounding may exceed its estimate: three orders of magnitude to spare."""

LARGEST = 1e-10
"""The largest relative distance that is ever put down to float64's rounding, of all gradients of a step together."""

HELD = 2.0**-22
"""The largest relative change of a hyperparameter, or a constant, that comes of holding it, and computing with it, in
float32: four roundings. Parameters of a narrower type hold theirs in that type."""

COARSE = 16.0
"""How many times the port's own rounding error torch's value may be off where there is no twin: two correct programs in
one dtype differ in the order of their sums."""


@dataclass(frozen=True)
class FunctionFinding:
    """The distance of the two functions in one quantity at one step, both evaluated in float64 from equal states.

    Attributes:
        step: from 0.
        phase: ``"forward"``, ``"loss"``, ``"gradient"`` or ``"buffer"``.
        name: the layer, the parameter or the buffer by its torch name; empty for the loss.
        distance: 2-norm of the difference over the 2-norm of torch's value.
        limit: what float64's own rounding explains of that, with three orders of magnitude to spare.
        discontinuous: the difference is explained by a discontinuity of the function at this very input (a relu at 0, a
            tie of a maximum), which the two sides resolve differently.
        index: the element furthest off, in torch's layout.
        reference: torch's value there.
        candidate: JAX's value there.
        constants: relative errors of the port's constants, ``"VALUE at LINE"``, that explain the difference, if any do.
        held: the difference is explained by constants that are torch's in float32.
        cause: of a buffer, the entry of `torch_bridge.judge.causes.statistics` that explains the difference.
    """

    step: int
    phase: str
    name: str
    distance: float
    limit: float
    discontinuous: bool
    index: tuple[int, ...]
    reference: float
    candidate: float
    constants: Mapping[str, float] = field(default_factory=dict)
    held: bool = False
    cause: str = ""

    @property
    def same(self) -> bool:
        """True if the functions agree here."""
        return self.distance <= self.limit or self.discontinuous or self.held


@dataclass(frozen=True)
class PrecisionFinding:
    """The rounding errors of both sides in one quantity at one step, each against its own float64 twin.

    Attributes:
        step: from 0.
        phase: ``"forward"``, ``"loss"``, ``"gradient"`` or ``"buffer"``.
        name: the layer, the parameter or the buffer.
        torch: 2-norm of the error of torch's value over the 2-norm of its twin.
        jax: likewise of the JAX side, on the same branch of the function (the same signs and maxima).
        floor: the error of a value that is rounded once, in this quantity's dtype.
    """

    step: int
    phase: str
    name: str
    torch: float
    jax: float
    floor: float


def norm(x: Array) -> float:
    """Return the 2-norm of an array in float64, infinite if it holds a NaN.

    Without BLAS: its threads, once woken, take the cores from XLA's, and a run that is watched step by step slows down
    several times.
    """
    x = np.asarray(x)
    x = np.abs(x) if np.iscomplexobj(x) else x
    with np.errstate(over="ignore", invalid="ignore"):
        size = float(np.sqrt(np.sum(np.square(x, dtype=np.float64))))
    return np.inf if np.isnan(size) else size


def unit_roundoff(dtype: Any) -> float:
    """Return the largest relative error of rounding once to a dtype: 2**-24 for float32."""
    return float(ml_dtypes.finfo(dtype).eps) / 2  # type: ignore[no-untyped-call]


def is_counted(value: Array) -> bool:
    """Return True for a quantity without rounding, such as a counter."""
    return np.asarray(value).dtype.kind in "iub"


def limits(twin: Step, run: Step) -> dict[str, float]:
    """For each quantity, the distance (2-norm) that float64's rounding explains.

    float64 rounds as float32 does, 2**29 times finer: torch's own float32 error against its own twin, scaled down, is
    the estimate. It is as large for a gradient that is zero in exact arithmetic, such as a bias in front of
    BatchNorm's.
    """
    u64 = unit_roundoff(np.float64)
    gradients = [norm(twin[key]) for key in twin if phase_of(key) == "gradient"]
    whole = float(np.sqrt(np.sum(np.square(gradients))))
    limits = {}
    for key, wide in twin.items():
        phase = phase_of(key)
        size = norm(wide)
        total = whole if phase == "gradient" else size
        floor = u64 * max(size, 1e-2 * total)
        narrow = run.get(key)
        if is_counted(wide):
            limits[key] = 0.0
            continue
        error = 0.0
        if narrow is not None and np.shape(narrow) == np.shape(wide):
            narrow = np.asarray(narrow)
            u = max(unit_roundoff(narrow.dtype), u64)
            error = norm(narrow.astype(np.float64) - wide) * u64 / u if u > u64 else u64 * total
        limits[key] = min(SPARE * max(error, floor), max(LARGEST * total, SPARE * floor))
    return limits


def coarse_limits(narrow: Step, wide: Step, run: Step, errors: Mapping[str, float]) -> dict[str, float]:
    """For each quantity of a step without a twin, the distance of torch's own value that rounding explains.

    Args:
        narrow: the port in its own precision.
        wide: the port in float64.
        run: torch's values.
        errors: torch's relative errors at other steps, as far as they are known.
    """
    gradients = [norm(wide[key]) for key in wide if phase_of(key) == "gradient"]
    whole = float(np.sqrt(np.sum(np.square(gradients))))
    limits = {}
    for key, value in wide.items():
        if is_counted(run.get(key, value)):
            limits[key] = 0.0
            continue
        size = max(norm(value), 1e-2 * whole if phase_of(key) == "gradient" else 0.0)
        rounding = 8 * max(unit_roundoff(np.asarray(x).dtype) for x in (narrow[key], run.get(key, narrow[key]))) * size
        own = norm(np.asarray(narrow[key], np.float64) - value)
        limits[key] = COARSE * max(own, rounding, errors.get(key, 0.0) * norm(value))
    return limits


def errors_of_torch(trace: Trace) -> dict[str, float]:
    """For each quantity, the largest error of torch's value relative to its twin, over the steps with twins."""
    errors: dict[str, float] = {}
    for t, twin in trace.twins.items():
        run = trace.step(t)
        for key in run.keys() & twin.keys():
            if (size := norm(twin[key])) and not is_counted(run[key]):
                error = norm(np.asarray(run[key], np.float64) - twin[key]) / size
                errors[key] = max(errors.get(key, 0.0), error)
    return errors


def function_finding(
    step: int, key: str, reference: Array, value: Array, limit: float, jumps: Array | None
) -> FunctionFinding:
    """Compare two values in float64; ``jumps`` are by how much the function jumps at this input."""
    same = (reference == value) | (np.isnan(reference) & np.isnan(value))
    with np.errstate(invalid="ignore"):
        gap = np.where(same, 0.0, np.abs(reference - value))
    gap = np.where(np.isnan(gap), np.inf, gap)
    size = norm(reference) or 1.0
    index = np.unravel_index(int(np.argmax(gap)), gap.shape)
    distance = norm(gap)
    explained = jumps is not None and bool(jumps.any()) and norm(np.maximum(gap - 2 * jumps, 0.0)) <= limit
    return FunctionFinding(
        step=step,
        phase=phase_of(key),
        name=name_of(key),
        distance=distance / size,
        limit=limit / size,
        discontinuous=explained and distance > limit,
        index=tuple(int(i) for i in index),
        reference=float(reference[index]),
        candidate=float(value[index]),
    )


def precision_finding(
    step: int, key: str, torch: Array, torch_twin: Array, jax_value: Array, jax_twin: Array
) -> PrecisionFinding:
    """Measure both sides' errors against their twins."""
    size = norm(torch_twin) or 1.0
    dtype = np.asarray(torch).dtype
    with np.errstate(invalid="ignore", over="ignore"):
        errors = [norm(np.asarray(a).astype(np.float64) - b) for a, b in ((torch, torch_twin), (jax_value, jax_twin))]
    return PrecisionFinding(step, phase_of(key), name_of(key), errors[0] / size, errors[1] / size, unit_roundoff(dtype))
