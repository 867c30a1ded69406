"""The layers of a port, found by the mapping of its weights."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from torch_bridge.judge.findings import FunctionFinding
from torch_bridge.judge.layers.comparison import StepLayers
from torch_bridge.judge.layers.counterparts import Counterparts
from torch_bridge.judge.layers.layer import Apart, Layer
from torch_bridge.judge.layers.taps import points_of
from torch_bridge.judge.layers.watching import Watch
from torch_bridge.trace.phases import name_of, phase_of
from torch_bridge.trace.trace import Step, Trace
from torch_bridge.weights import Weights


class PortLayers:
    """The counterparts of torch's layers, and what names points at them while the port is traced.

    Attributes:
        watch: see `Watch`.
    """

    def __init__(self, weights: Weights, kinds: Mapping[str, str], tied: Mapping[str, str]) -> None:
        """Find the counterparts.

        Args:
            weights: the mapping.
            kinds: torch's layers with their classes.
            tied: further names of torch's parameters.
        """
        self._kinds = kinds
        found = Counterparts(weights, tied)
        self._counterparts = {name: found.of(name, kind) for name, kind in kinds.items()}
        paths = {path for each in self._counterparts.values() for one in each or () for path in one.paths}
        self.watch = Watch(weights, frozenset(paths))

    def at(self, step: int, trace: Trace, limits: Mapping[str, float], names: Mapping[str, Any]) -> StepLayers:
        """Compare the layers at a step with a twin.

        Args:
            step: its number.
            trace: the recorded run.
            limits: of the step's quantities.
            names: what the port's program named: name -> (narrow, wide).
        """
        values = {point: np.asarray(wide) for point, (_, wide) in points_of(names).items()}
        for point in [point for point in values if point.role == "forward" and not self.watch.failure]:
            back = replace(point, role="backward")
            if back not in self.watch.differentiated.points:  # the port stops it
                values[back] = np.zeros(np.shape(values[point]))
        sources = trace.static["twins"].get("sources", {})
        return StepLayers(step, trace.twins[step], limits, self._kinds, sources, self._counterparts, values)


@functools.lru_cache(maxsize=16)
def _kept(weights: Weights, kinds: tuple[tuple[str, str], ...], tied: tuple[tuple[str, str], ...]) -> PortLayers:
    return PortLayers(weights, dict(kinds), dict(tied))


def layers_of(trace: Trace, weights: Weights | None) -> PortLayers | None:
    """Return the layers of a port; None if the trace has none, or no mapping of weights was given."""
    twins = trace.static.get("twins", {})
    if weights is None or not twins.get("layers"):
        return None
    kinds = twins.get("kinds") or {name: "" for name in twins["layers"]}
    tied = trace.static.get("recipe", {}).get("tied", {})
    return _kept(weights, tuple(kinds.items()), tuple(tied.items()))  # kept, as the programs with its points are


def named_layers(kinds: Mapping[str, str], twin: Step, functions: Sequence[FunctionFinding]) -> list[Layer]:
    """Return torch's layers beside the outputs that a port named itself.

    Args:
        kinds: torch's layers with their classes.
        twin: the step in float64.
        functions: the findings of the step.
    """
    named = {f.name: f for f in functions if f.phase == "forward"}
    layers = []
    for name in [name_of(key) for key in twin if phase_of(key) == "forward"]:
        finding = named.get(name)
        if finding is None:
            layers.append(Layer(name, kinds.get(name, ""), reason="the port does not name it"))
        else:
            apart = Apart(finding.distance, finding.limit)
            layers.append(Layer(name, kinds.get(name, ""), name, step=finding.step, forward=apart))
    return layers
