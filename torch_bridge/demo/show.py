"""The result of the demo, in the terminal."""

from rich.console import Group, RenderableType

from torch_bridge.demo.run import DemoResult
from torch_bridge.render.text import render_report


def render_demo(result: DemoResult) -> RenderableType:
    """Return the diagnosis and the accuracies."""
    parts: list[RenderableType] = [render_report(result.report), ""]
    if result.golden:
        parts.append(f"golden trace against live PyTorch: {result.golden}")
    parts.append(f"held-out accuracy: PyTorch {result.torch_accuracy:.1%}, JAX {result.jax_accuracy:.1%}")
    return Group(*parts)
