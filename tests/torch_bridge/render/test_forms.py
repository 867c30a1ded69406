"""JUnit's XML and GitHub's annotations."""

import dataclasses
from xml.etree import ElementTree

from tests.support.reports import EVIL, hostile, report_of
from torch_bridge.judge.hazards import Hazard
from torch_bridge.render.github import render_github
from torch_bridge.render.junit import render_junit


def cases(report):
    suite = ElementTree.fromstring(render_junit(report))
    found = {case.get("name"): case.find("failure") for case in suite.iter("testcase")}
    assert int(suite.get("tests")) == len(found)
    assert int(suite.get("failures")) == sum(failure is not None for failure in found.values())
    return found


def test_junit_has_a_case_for_each_phase_and_the_first_difference_fails():
    good, bad = cases(report_of()), cases(report_of(decay=2e-2))
    assert {"loss", "gradient", "parameter", "precision"} <= set(good)
    assert not any(failure is not None for failure in good.values())
    assert [name for name, failure in bad.items() if failure is not None] == ["weight_decay"]
    assert bad["weight_decay"].get("message").startswith("different, first at step 0")


def test_junit_is_xml_whatever_a_trace_holds():
    text = render_junit(hostile(report_of(decay=2e-2)))
    assert EVIL.replace("\x00", "\ufffd") in ElementTree.fromstring(text).find("system-out").text


def test_annotations_name_the_line_and_cannot_be_ended():
    assert render_github(report_of())[0].startswith("::notice title=same function::the same function")
    hazard = Hazard("softmax without its maximum", "net,x.py:12 (loss)", 3.0, 88.0)
    report = dataclasses.replace(report_of(decay=2e-2), hazards=(hazard,), notes=("a\n::set-env::b 5%",))
    error, finding, warning, note = render_github(report, "port.py")
    assert error.startswith("::error file=port.py,title=different::different, first at step 0")
    assert finding.startswith("::warning file=port.py,title=weight decay::torch moves every parameter with")
    assert warning.startswith("::warning file=net%2Cx.py,line=12,title=hazard::softmax without its maximum at net,x.py")
    assert note == "::notice title=note::a%0A::set-env::b 5%25"
