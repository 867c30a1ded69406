"""Forms in a port's own program that are right, and lose precision or overflow on other data than these.

A hazard is a note and no verdict. On the data at hand the function and its precision were measured, and are what the
verdict says; and the norms of flax, which take a variance as ``E[x^2] - E[x]^2`` by default, would all be rejected. So
each form is named with its line, and with a figure for how far these data are from trouble.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax.extend import source_info_util

from funcsgd.arithmetic.float64_words import doubles
from torch_bridge.judge.dataflow import Node, flattened, same_elements
from torch_bridge.judge.evaluator import Evaluator
from torch_bridge.judge.forms import Kind, forms
from torch_bridge.judge.lanes import CannotWiden, Lanes
from torch_bridge.judge.widening import traced


@dataclass(frozen=True)
class Hazard:
    """One form, at one line of source.

    Attributes:
        kind: which form.
        line: of the port's source, ``"FILE:LINE (FUNCTION)"``.
        measured: in float64, over the steps that were evaluated: the largest argument of the exponential; the
            smallest probability; the largest ``mean^2 / variance``, by which a relative rounding error of ``E[x^2]`` is
            multiplied in the variance. None inside a loop, and where the program has no float64 form.
        limit: where nothing is left in the program's own type: the exponential overflows, the probability is zero,
            rounding errors are as large as the variance.
    """

    kind: Kind
    line: str
    measured: float | None
    limit: float


class Hazards:
    """The hazards of a function, found in its jaxpr and measured on its arguments; its programs are kept."""

    def __init__(self, function: Callable[..., Any]) -> None:
        """Take a traceable function of pytrees."""
        self._function = function
        self._programs: dict[Any, tuple[dict[int, Hazard], Callable[[list[Any]], Mapping[int, Any]]]] = {}

    def __call__(self, cases: Iterable[tuple[Any, ...]]) -> tuple[Hazard, ...]:
        """Return the hazards, each with its worst figure over some arguments; without any, the first case is enough."""
        worst: dict[tuple[Kind, str], Hazard] = {}
        for args in cases:
            leaves, structure = jax.tree.flatten(args)
            key = structure, tuple((np.shape(x), str(getattr(x, "dtype", type(x)))) for x in leaves)
            if key not in self._programs:
                closed, _ = traced(self._function, args, "as traced")
                marks = {id(node.equation): _hazard(kind, node) for kind, node in forms(flattened(closed.jaxpr))}
                self._programs[key] = marks, jax.jit(functools.partial(_measured, closed, marks))
            marks, measure = self._programs[key]
            if not marks:
                return ()
            try:
                with doubles():
                    figures = jax.device_get(measure(leaves))
            except CannotWiden:
                figures = {}
            for number, hazard in marks.items():
                hazard = replace(hazard, measured=float(figures[number]) if number in figures else None)
                known = worst.setdefault((hazard.kind, hazard.line), hazard)
                worst[hazard.kind, hazard.line] = max(known, hazard, key=_severity)
        return tuple(worst.values())


@functools.lru_cache(maxsize=16)
def hazards_of(function: Callable[..., Any]) -> Hazards:
    """Return the `Hazards` of a function; kept, since runs are often compared again."""
    return Hazards(function)


def _hazard(kind: Kind, node: Node) -> Hazard:
    info = ml_dtypes.finfo(node.equation.outvars[0].aval.dtype)  # type: ignore[no-untyped-call]
    from_one = node.name == "log1p" or same_elements(node.inputs[0]).name == "sub"
    limits: dict[Kind, float] = {
        "softmax without its maximum": float(np.log(float(info.max))),
        "logarithm of a probability": float(info.eps) / 2 if from_one else float(info.smallest_subnormal),
        "variance as E[x^2] - E[x]^2": 1 / float(info.eps),
    }
    return Hazard(kind, source_info_util.summarize(node.equation.source_info).rpartition("/")[2], None, limits[kind])


def _severity(hazard: Hazard) -> float:
    if hazard.measured is None:
        return -np.inf
    return -hazard.measured if hazard.kind == "logarithm of a probability" else hazard.measured


@dataclass
class _Measuring(Evaluator):
    """Notes a figure for each equation that is marked."""

    marks: Mapping[int, Hazard] = field(default_factory=dict)
    figures: dict[int, Any] = field(default_factory=dict)

    def apply(self, equation: Any, inputs: list[Lanes]) -> list[Lanes]:
        if hazard := self.marks.get(id(equation)):
            figure = _figure(hazard.kind, equation.primitive.name, *(x.wide for x in inputs))
            worst = jnp.minimum if hazard.kind == "logarithm of a probability" else jnp.maximum
            self.figures[id(equation)] = worst(self.figures.get(id(equation), figure), figure)
        return super().apply(equation, inputs)


def _figure(kind: Kind, name: str, x: Any, square: Any = None) -> Any:
    if kind == "softmax without its maximum":
        return jnp.max(x, initial=-jnp.inf)
    if kind == "logarithm of a probability":
        return jnp.min(x + (name == "log1p"), initial=jnp.inf)
    variance = x - square
    return jnp.max(jnp.where(square > 0, square / jnp.maximum(variance, 0.0), 0.0), initial=0.0)


def _measured(closed: Any, marks: Mapping[int, Hazard], leaves: list[Any]) -> Mapping[int, Any]:
    evaluator = _Measuring(beside=False, share=False, decimal=False, marks=marks)
    evaluator.run(closed, evaluator.arguments(closed, leaves))
    return evaluator.figures
