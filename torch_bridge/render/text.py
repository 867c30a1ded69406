"""A report in the terminal."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from torch_bridge.parity.compare import Difference
from torch_bridge.parity.report import Report, Verdict

STYLES: dict[Verdict, str] = {"bitwise": "green", "rounding": "cyan", "diverged": "bold red"}
"""How each verdict looks."""


def render_report(report: Report) -> RenderableType:
    """Return the verdict's sentence and, below it, one row for each phase."""
    sentence = Text.assemble((report.verdict, STYLES[report.verdict]), "  ", report.sentence)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("phase", no_wrap=True)
    for column in ("values", "differ", "worst ulps", "envelope", "at step"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("in", no_wrap=True)
    for row in report.rows:
        share = "" if row.share is None else f"{row.share:.2g}"
        table.add_row(row.phase.replace("_", " "), f"{row.values:,}", f"{row.differing:,}", *_worst(row.worst, share))
    return Group(sentence, table)


def _worst(difference: Difference | None, share: str) -> tuple[str, str, str, str]:
    if difference is None or difference.ulps is None:
        return "", share, "", ""
    ulps = f"{difference.ulps:,}" if difference.ulps < 10**6 else f"{difference.ulps:.1e}"
    index = f"[{','.join(map(str, difference.index))}]" if difference.index else ""
    return ulps, share, str(difference.step), difference.name + index
