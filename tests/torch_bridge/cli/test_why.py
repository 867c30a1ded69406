"""``torch-bridge why``: every entry can be explained, and a misspelt one is found."""

import json

from typer.testing import CliRunner

from torch_bridge.cli import app
from torch_bridge.judge.causes.catalogue import CATALOGUE


def why(*arguments):
    return CliRunner().invoke(app, ["why", *arguments])


def test_an_entry_is_explained():
    shown = why("clip-without-epsilon")
    assert shown.exit_code == 0
    assert "torch adds 1e-6" in shown.output
    assert "clip_grad_norm(TORCH'S)" in shown.output
    data = json.loads(why("decay-value", "--json").output)
    assert data["fits"] == "weight_decay"


def test_all_are_listed_by_family():
    listed = json.loads(why("--json").output)
    assert [entry["name"] for entry in listed] == list(CATALOGUE)
    assert all(entry["does"].endswith(".") and entry["fix"] for entry in listed)
    shown = why().output
    assert all(name in shown for name in CATALOGUE)


def test_a_name_that_is_nearly_right():
    shown = why("clip-witout-epsilon")
    assert shown.exit_code == 2
    assert "did you mean clip-without-epsilon" in shown.output


def test_names_are_told_apart():
    assert len({entry.does for entry in CATALOGUE.values()}) == len(CATALOGUE) >= 60
