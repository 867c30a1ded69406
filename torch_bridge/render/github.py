"""A report as annotations of GitHub Actions: lines that a workflow prints, which appear beside the code."""

import re
from collections.abc import Iterator

from torch_bridge.judge.report import Report
from torch_bridge.judge.sentence import hazard_words

_PLACE = re.compile(r"(?P<file>\S+\.py):(?P<line>\d+)")


def render_github(report: Report, file: str | None = None) -> list[str]:
    """Return one annotation for the verdict, and one for each hazard, finding of the preflight and note.

    Args:
        report: any report.
        file: the port's source, which is named where the report knows no line.

    Returns:
        Lines such as ``::error file=port.py,line=12,title=different::different, first at step 0 ...``.
    """
    level = "notice" if report.ok else "error"
    lines = [_annotation(level, report.verdict, str(report), " ".join(_places(report)), file)]
    for finding in report.preflight.findings:
        lines.append(_annotation("warning", finding.name, f"{finding.sentence} {finding.remedy}", "", file))
    for hazard in report.hazards:
        lines.append(_annotation("warning", "hazard", hazard_words(hazard), hazard.line, file))
    return [*lines, *(_annotation("notice", "note", note, "", None) for note in report.notes)]


def _places(report: Report) -> Iterator[str]:
    yield report.line
    if report.difference is not None:
        yield from report.difference.constants


def _annotation(level: str, title: str, message: str, place: str, file: str | None) -> str:
    found = _PLACE.search(place)
    properties = {"file": found["file"], "line": found["line"]} if found else {"file": file} if file else {}
    written = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in {**properties, "title": title}.items())
    return f"::{level} {written}::{_escaped(message)}"


def _escaped(text: str, more: str = "") -> str:
    """The text as GitHub's commands take it: what would end a line or a property is written as its code."""
    return "".join(f"%{ord(sign):02X}" if sign in f"%\r\n{more}" else sign for sign in text)
