"""A report in the terminal."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from torch_bridge.demo.run import DemoResult
from torch_bridge.parity.compare import Difference
from torch_bridge.parity.report import Report, Verdict

_STYLES: dict[Verdict, str] = {"bitwise": "green", "rounding": "cyan", "diverged": "bold red"}


def render_report(report: Report) -> RenderableType:
    """Return the verdict's sentence and, below it, one row for each phase."""
    sentence = Text.assemble((report.verdict, _STYLES[report.verdict]), "  ", report.sentence)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("phase", no_wrap=True)
    for column in ("values", "differ", "worst ulps", "envelope", "at step"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("in", no_wrap=True)
    for row in report.rows:
        share = "" if row.share is None else f"{row.share:.2g}"
        table.add_row(row.phase.replace("_", " "), f"{row.values:,}", f"{row.differing:,}", *_worst(row.worst, share))
    return Group(sentence, table)


def render_demo(result: DemoResult) -> RenderableType:
    """Return the demo's verdicts, tables, times and accuracies."""
    parts: list[RenderableType] = []
    for report in result.reports.values():
        parts += [render_report(report), ""]
    if result.golden_report:
        verdict = result.golden_report.verdict
        parts += [
            Text.assemble("golden trace against live PyTorch: ", (verdict, _STYLES[verdict])),
            result.golden_report.sentence,
            "",
        ]
    when = "live" if result.live else "when it was recorded"
    parts.append(
        f"time in steps: PyTorch {result.torch_seconds:.2f} s ({when}), JAX {result.jax_seconds:.2f} s; "
        f"held-out accuracy: PyTorch {result.torch_accuracy:.1%}, JAX {result.jax_accuracy:.1%}"
    )
    return Group(*parts)


def _worst(difference: Difference | None, share: str) -> tuple[str, str, str, str]:
    if difference is None or difference.ulps is None:
        return "", share, "", ""
    ulps = f"{difference.ulps:,}" if difference.ulps < 10**6 else f"{difference.ulps:.1e}"
    index = f"[{','.join(map(str, difference.index))}]" if difference.index else ""
    return ulps, share, str(difference.step), difference.name + index
