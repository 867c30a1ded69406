"""A report as JUnit's XML, which continuous integration shows as a list of tests."""

import re
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from torch_bridge.judge.report import Report
from torch_bridge.judge.sentence import hazard_words

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(report: Report) -> str:
    """Return a test suite with one test for each phase that was evaluated or compared, and one for the precision."""
    compared = [f.phase for f in report.functions] + [f.phase for f in report.rules]
    compared += [row.phase for comparison in report.drives.values() for row in comparison.rows]
    first = report.difference
    phases = list(dict.fromkeys([*compared, *([first.phase] if first else [])]))
    suite = Element("testsuite", name="torch-bridge", tests=str(len(phases) + 1), errors="0", skipped="0")
    for phase in phases:
        case = SubElement(suite, "testcase", classname="torch_bridge.check", name=phase)
        if first is not None and first.phase == phase:
            SubElement(case, "failure", type=report.verdict, message=_clean(str(report)))
    case = SubElement(suite, "testcase", classname="torch_bridge.check", name="precision")
    if report.verdict == "imprecise" and not report.ok:
        SubElement(case, "failure", type=report.verdict, message=_clean(str(report)))
    words = [*(f"hazard: {hazard_words(hazard)}" for hazard in report.hazards), *report.notes]
    SubElement(suite, "system-out").text = _clean("\n".join([str(report), *words]))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    indent(suite)
    return tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _clean(text: str) -> str:
    """The text without the characters that XML cannot hold, however they are written."""
    return _NOT_XML.sub("\ufffd", text)
