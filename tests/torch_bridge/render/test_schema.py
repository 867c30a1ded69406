"""Real reports are what the schema in the package describes."""

import json
from importlib.resources import files

import jsonschema
import pytest

from tests.support.reports import hostile, report_of, with_edit
from torch_bridge.render.json import plain, text

SCHEMA = json.loads((files("torch_bridge.render") / "report.schema.json").read_text())


def validated(report):
    data = json.loads(text(report.to_dict()))
    jsonschema.Draft202012Validator(SCHEMA).validate(data)
    return data


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_reports_follow_the_schema():
    same, other = validated(report_of()), validated(report_of(decay=2e-2))
    validated(hostile(with_edit(report_of(decay=2e-2))))
    assert same["format"] == other["format"] == 1
    assert other["sentence"].startswith("different, first at step 0")
    assert other["history"]["steps"][0] == 0
    assert len(other["history"]["torch"]) == len(other["history"]["jax"]["update"])
    assert other["drives"]["update"]["profile"]["curves"][0]["phase"] == "gradient"
    assert other["provenance"]["torch"]["versions"]["torch"]


@pytest.mark.parametrize(
    "change", [{"verdict": "fine"}, {"ok": None}, {"format": 2}, {"difference": {"step": -1}}], ids=str
)
def test_what_is_no_report_is_refused(change):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(plain({**report_of().to_dict(), **change}))
