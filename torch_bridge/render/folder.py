"""A report in all its forms, in a folder."""

import os
from pathlib import Path

from torch_bridge.files import write_whole
from torch_bridge.judge.report import Report
from torch_bridge.render.html import render_html
from torch_bridge.render.json import write_json
from torch_bridge.render.junit import render_junit


def save_report(report: Report, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write ``report.json``, ``report.html`` and ``junit.xml``.

    Args:
        report: any report.
        folder: made if it is not there; files of these names in it are replaced.

    Returns:
        The files.
    """
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    files = (place / "report.json", place / "report.html", place / "junit.xml")
    write_json(report.to_dict(), files[0])
    write_whole(files[1], render_html(report).encode())
    write_whole(files[2], render_junit(report).encode())
    return files
