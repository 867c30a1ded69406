"""The layers of a port over all steps with twins, and the layer in which each difference begins."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch_bridge.judge.findings import FunctionFinding
from torch_bridge.judge.layers.layer import Layer
from torch_bridge.judge.layers.port_layers import PortLayers, named_layers
from torch_bridge.trace.trace import Trace


@dataclass(frozen=True)
class LayerFindings:
    """Torch's layers beside the port's.

    Attributes:
        layers: every layer at the first step that differs, or, where none does, at the first one compared.
        origins: for each step that differs, what differs first in its layers.
    """

    layers: tuple[Layer, ...] = ()
    origins: tuple[FunctionFinding, ...] = ()


def layer_findings(
    trace: Trace,
    functions: Sequence[FunctionFinding],
    port: PortLayers | None,
    limits: Mapping[int, Mapping[str, float]],
    names: Callable[[int], Mapping[str, Any]],
) -> LayerFindings:
    """Compare the layers at every step with a twin that was evaluated.

    That a layer of the port holds a layer's weights does not mean that it must return what that returns: a correct port
    may lay its code out in another way. So layers are asked where loss or gradients differ, and decide nothing alone.

    Args:
        trace: the recorded run.
        functions: the findings on loss, gradients and layers that the port named itself.
        port: its layers by the mapping of weights; None without a mapping.
        limits: by step, of its quantities.
        names: step -> what the port's program named.
    """
    steps = sorted(step for step in limits if any(key.startswith("forward/") for key in trace.twins.get(step, ())))
    if not steps:
        return LayerFindings()
    wrong = {finding.step: finding for finding in reversed(functions) if not finding.same}
    shown = next((step for step in steps if step in wrong), steps[0])
    kinds = trace.static["twins"].get("kinds", {})
    layers = named_layers(kinds, trace.twins[shown], [f for f in functions if f.step == shown])
    origins: list[FunctionFinding] = []
    if port is None:
        return LayerFindings(tuple(layers))
    own = {layer.name: layer for layer in layers if not layer.reason}
    for step in sorted({shown, *(step for step in steps if step in wrong)}):
        compared = port.at(step, trace, limits[step], names(step))
        if step == shown:
            found = compared.layers()
            layers = [own.get(layer.name, layer) if layer.reason else layer for layer in found]
        if step in wrong:
            loss_is_same = all(f.same for f in functions if f.step == step and f.phase == "loss")
            origin = compared.origin(loss_is_same)
            origins += [] if origin is None else [replace(origin, constants=wrong[step].constants)]
    return LayerFindings(tuple(layers), tuple(origins))
