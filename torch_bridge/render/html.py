"""A report as one HTML page that needs nothing else: no server, no network, no other file."""

import json
from importlib.resources import files
from typing import Any

from torch_bridge.judge.report import Report
from torch_bridge.render.json import plain
from torch_bridge.render.page_data import page_data

SCRIPTS = ("elements.js", "chart.js", "heat.js", "report.js")
"""The page's script in parts, in the order in which they build on each other."""


def render_html(report: Report) -> str:
    """Return the page of a report."""
    return fill(page_data(report))


def fill(data: Any) -> str:
    """Return the page for what `page_data` makes.

    The data stand in a script element of a type that is not run. Every ``<``, ``>`` and ``&`` in them is written as an
    escape of JSON's, so that no name can end the element; the script puts them into the page as text alone.
    """
    written = json.dumps(plain(data), allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        written = written.replace(sign, f"\\u{ord(sign):04x}")
    parts = {
        "{{style}}": _part("report.css"),
        "{{script}}": "\n".join(map(_part, SCRIPTS)),
        "{{data}}": written,  # last, for it may hold anything
    }
    page = _part("report.html")
    for place, content in parts.items():
        before, _, after = page.partition(place)
        page = before + content + after
    return page


def _part(name: str) -> str:
    return (files("torch_bridge.render") / "page" / name).read_text("utf-8")
