"""A report in the terminal."""

import re

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from torch_bridge.judge.bits_sentence import comparison_sentence
from torch_bridge.judge.causes.cause import Cause
from torch_bridge.judge.compare import Comparison
from torch_bridge.judge.differences import Difference
from torch_bridge.judge.findings import FunctionFinding
from torch_bridge.judge.preflight.finding import Preflight
from torch_bridge.judge.report import Report, Verdict
from torch_bridge.judge.rule_findings import RuleFinding
from torch_bridge.judge.sentence import hazard_words, sentence

STYLES: dict[Verdict, str] = {
    "bitwise": "green",
    "same function": "green",
    "imprecise": "yellow",
    "different": "bold red",
}
"""The style of each verdict."""


def render_report(report: Report) -> RenderableType:
    """Return the verdict's sentence, the preflight, the findings by phase, hazards, the drives, and the notes."""
    verdict, mark, rest = re.split("([,:])", sentence(report), maxsplit=1)
    parts: list[RenderableType] = [Text.assemble((verdict, STYLES[report.verdict]), mark, rest)]
    if report.preflight.findings:
        parts += ["", *_preflight(report.preflight)]
    for cause in report.causes:
        parts += ["", *_cause(cause)]
    if report.functions or report.rules:
        parts += ["", _questions(report)]
    if report.hazards:
        parts += ["", *(Text(f"hazard: {hazard_words(hazard)}") for hazard in report.hazards)]
    for comparison in report.drives.values():
        parts += ["", render_comparison(comparison)]
    return Group(*parts, *map(Text, report.notes))


def render_preflight(preflight: Preflight) -> RenderableType:
    """Return a sentence and a remedy for each finding, the random draws, and what could not be compared."""
    parts: list[RenderableType] = [*_preflight(preflight)] or ["nothing differs, as far as it was compared"]
    if preflight.draws:
        table = _table("random draws", "torch", last="JAX")
        for draw in preflight.draws:
            table.add_row(draw.what, draw.torch or "unknown", draw.jax or "unknown")
        parts += ["", table]
    return Group(*parts, *preflight.unread)


def _preflight(preflight: Preflight) -> list[Text]:
    return [
        Text.assemble((finding.name, "yellow"), f"  {finding.sentence} {finding.remedy}")
        for finding in preflight.findings
    ]


def _cause(cause: Cause) -> list[Text]:
    """A cause's name, its fix in words, and as a change of the file."""
    lines = [Text.assemble((f"cause {cause.name}", "yellow"), f"  fix: {cause.fix}")]
    for edit in cause.edits:
        lines.append(Text(f"{edit.path}:{edit.line}, proved by a check of the changed file:"))
        lines += [Text(f"- {line}", style="red") for line in edit.old.splitlines()]
        lines += [Text(f"+ {line}", style="green") for line in edit.new.splitlines()]
    return lines


def _questions(report: Report) -> Table:
    """One row for each phase that was evaluated in float64."""
    table = _table(
        "in float64", "compared", "apart by", "limit", "torch's error", "JAX's error", "factor", last="worst in"
    )
    findings: list[FunctionFinding | RuleFinding] = [*report.functions, *report.rules]
    for phase in dict.fromkeys(finding.phase for finding in findings):
        compared = [finding for finding in findings if finding.phase == phase]
        worst = max(compared, key=lambda f: f.distance / f.limit if f.limit else 0.0)
        errors = max((p for p in report.precisions if p.phase == phase), key=lambda p: p.factor, default=None)
        figures = (
            ("", "", "") if errors is None else (f"{errors.torch:.1e}", f"{errors.jax:.1e}", f"{errors.factor:.3g}")
        )
        name = worst.name if errors is None else errors.name
        cells = (str(len(compared)), f"{worst.distance:.1e}", f"{worst.limit:.0e}", *figures, name)
        table.add_row(phase.replace("_", " "), *cells)
    return _settled(table)


def render_comparison(comparison: Comparison) -> RenderableType:
    """Return the sentence about bits and, below it, one row for each phase."""
    table = _table("phase", "values", "differ", "worst ulps", "at step", last="in")
    for row in comparison.rows:
        table.add_row(row.phase.replace("_", " "), f"{row.values:,}", f"{row.differing:,}", *_worst(row.worst))
    return Group(comparison_sentence(comparison), _settled(table))


def _table(first: str, *columns: str, last: str) -> Table:
    """A table whose headings, and long names in its last column, take a second line before a cell is cut off."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", vertical="bottom")
    table.add_column(last, overflow="fold")
    return table


def _settled(table: Table) -> Table:
    """The table with columns of numbers that are never narrower than their numbers and the words of their headings."""
    for column in table.columns[1:-1]:
        words = [*str(column.header).split(), *map(str, column.cells)]
        column.min_width = max(map(len, words))
    return table


def _worst(difference: Difference | None) -> tuple[str, str, str]:
    if difference is None or difference.ulps is None:
        return "", "", ""
    ulps = f"{difference.ulps:,}" if difference.ulps < 10**6 else f"{difference.ulps:.1e}"
    index = f"[{','.join(map(str, difference.index))}]" if difference.index else ""
    return ulps, str(difference.step), difference.name + index
