"""The terminal's tables: headings take a second line in 80 columns, and nothing is cut off."""

import io

import pytest
from rich.console import Console

from tests.support.reports import report_of, with_edit
from torch_bridge.render.text import render_report


def shown(report, width):
    out = io.StringIO()
    Console(file=out, width=width).print(render_report(report), soft_wrap=True)
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_cut_off(width):
    text = shown(report_of(decay=2e-2), width)
    assert "…" not in text
    rows = [line for line in text.splitlines() if line.startswith(("in float64", "gradient ", "momentum buffer"))]
    assert rows
    assert max(map(len, rows)) <= width


def test_a_cause_is_printed_with_its_fix_and_the_change_of_the_file():
    text = shown(with_edit(report_of(decay=2e-2)), 80)
    assert "cause decay-doubled  fix: weight_decay=0.01, in one place\n" in text
    assert "port.py:12, proved by a check of the changed file:\n- tx = rule(decay=2e-2)\n+ tx = rule(" in text
