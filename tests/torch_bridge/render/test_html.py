"""The page as text: complete in itself, of bounded size, and no name of a trace is markup in it."""

import dataclasses
import json
from html.parser import HTMLParser

import pytest

from tests.support.reports import EVIL, hostile, long_report, report_of
from torch_bridge.judge.causes.cause import Cause, Trial
from torch_bridge.judge.layers.layer import Apart, Layer
from torch_bridge.render.html import render_html
from torch_bridge.render.page_data import page_data


class Page(HTMLParser):
    """The tags of a page with their attributes, and the text of each script and style."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append((self.tags[-1][0], data) if self.tags else ("", data))


def test_the_page_needs_nothing_else():
    text = render_html(report_of(decay=2e-2))
    page = Page(text)
    assert not [a for tag, a in page.tags if {"src", "href", "action", "data", "srcset"} & set(a)]
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert all(word not in text for word in ("url(", "@import", "fetch(", "XMLHttpRequest", "innerHTML", "{{"))
    addresses = {word for word in text.split('"') if word.startswith("http")}
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name space
    assert ("html", {"lang": "en"}) in page.tags
    assert any(tag == "meta" and a.get("name") == "viewport" for tag, a in page.tags)


def test_no_name_is_markup():
    evil, plain = (Page(render_html(report)) for report in (hostile(report_of(decay=2e-2)), report_of(decay=2e-2)))
    assert evil.tags == plain.tags
    assert [tag for tag, _ in evil.texts] == [tag for tag, _ in plain.texts]
    data = json.loads(next(text for tag, text in evil.texts if tag == "script" and text.startswith('{"verdict"')))
    assert data["notes"] == [EVIL]
    assert data["history"]["name"] == EVIL


def test_a_place_in_the_template_cannot_be_named():
    report = dataclasses.replace(report_of(), notes=("{{script}} {{style}} {{data}}",))
    assert Page(render_html(report)).tags == Page(render_html(report_of())).tags


@pytest.mark.thorough
def test_the_page_of_a_long_run_of_a_large_model_is_small():
    report = long_report(report_of(decay=2e-2), 100_000, 500)
    data = page_data(report)
    assert data["drives"][0]["left_out"] == 440
    assert len(render_html(report)) < 300_000


def test_causes_and_layers_are_shown():
    cause = Cause(
        "decay-doubled", "decay", "the weight decay is twice torch's", "weight_decay=1e-2", before=0.5, after=0.1
    )
    layers = (Layer("0", "Linear", "dense", forward=Apart(0.5, 1e-13)), Layer("1", "ReLU", reason="no weights"))
    report = dataclasses.replace(report_of(), causes=(cause,), tried=(Trial("halved", 0.25),), layers=layers)
    data = page_data(report)
    assert (data["causes"][0]["fix"], data["tried"]) == ("weight_decay=1e-2", [{"name": "halved", "distance": 0.25}])
    assert [row["output"] for row in data["layers"]] == ["5.0e-01 differs", ""]
    assert data["layers"][1]["in the port"] == "none: no weights"
    assert "decay-doubled" in render_html(report)
