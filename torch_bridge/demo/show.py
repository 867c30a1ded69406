"""What the demo found, in the terminal."""

from rich.console import Group, RenderableType
from rich.text import Text

from torch_bridge.demo.run import DemoResult
from torch_bridge.render.text import STYLES, render_report


def render_demo(result: DemoResult) -> RenderableType:
    """Return the demo's verdicts, tables, times and accuracies."""
    parts: list[RenderableType] = []
    for report in result.reports.values():
        parts += [render_report(report), ""]
    if result.golden_report:
        verdict = result.golden_report.verdict
        parts += [
            Text.assemble("golden trace against live PyTorch: ", (verdict, STYLES[verdict])),
            result.golden_report.sentence,
            "",
        ]
    when = "live" if result.live else "when it was recorded"
    parts.append(
        f"time in steps: PyTorch {result.torch_seconds:.2f} s ({when}), JAX {result.jax_seconds:.2f} s; "
        f"held-out accuracy: PyTorch {result.torch_accuracy:.1%}, JAX {result.jax_accuracy:.1%}"
    )
    return Group(*parts)
