"""Layers in words."""

from collections.abc import Sequence

from torch_bridge.judge.layers.layer import Layer

_NOT_NAMED = "the port does not name it"


def unmatched_note(layers: Sequence[Layer]) -> list[str]:
    """Return a sentence on torch's layers without a counterpart, or none."""
    reasons: dict[str, list[str]] = {}
    for layer in layers:
        if layer.reason and (layer.step is not None or layer.reason == _NOT_NAMED):
            reasons.setdefault(layer.reason, []).append(_called(layer))
    if not reasons:
        return []
    if set(reasons) == {_NOT_NAMED}:
        names = [layer.name or "the model itself" for layer in layers if layer.reason == _NOT_NAMED]
        return [f"Layers that the port does not name: {', '.join(names)}."]
    groups = (f"{', '.join(names)}, {reason}" for reason, names in reasons.items())
    return [f"Layers without a counterpart in the port: {'; '.join(groups)}."]


def beside_words(layers: Sequence[Layer], phase: str, name: str) -> str:
    """Return what agrees beside the layer in which a difference begins, in brackets; empty if that is not known."""
    names = [layer.name for layer in layers]
    if name not in names:
        return ""
    at = names.index(name)
    if phase == "forward":
        given = layers[at].given
        return " (its input agrees)" if given is not None and given.same else ""
    if phase == "input":
        before = [layer.name for layer in layers[:at] if layer.forward is not None and layer.forward.same]
        return f" (the output of {before[-1]}, before it, agrees)" if before else ""
    if phase == "backward":
        after = [layer.name for layer in layers[at + 1 :] if layer.backward is not None and layer.backward.same]
        return f" (that of {after[0]}, after it, agrees)" if after else ""
    return ""


def _called(layer: Layer) -> str:
    return f"{layer.name} ({layer.kind})" if layer.kind else layer.name
