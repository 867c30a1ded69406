"""The script for a GPU, as far as a CPU can try it."""

import json

import jax
import pytest
import torch

from benchmarks import device


def test_without_a_gpu_it_names_what_is_missing():
    if torch.cuda.is_available() and jax.default_backend() == "gpu":
        return
    with pytest.raises(SystemExit, match="--rehearse runs the script on the CPU"):
        device.main(rehearse=False, file="never-written")


def test_a_table_leaves_nested_values_to_the_json():
    rows = [{"a": 1, "ms": 0.12345, "holds": {"x": True}}, {"a": 2, "ms": None, "holds": {}}]
    assert device.table(rows) == "| a | ms |\n| --- | --- |\n| 1 | 0.123 |\n| 2 |  |\n"
    assert device.table([]) == "nothing\n"


@pytest.mark.thorough
def test_the_rehearsal_writes_its_table_and_its_json(tmp_path):
    report = device.main(rehearse=True, file=str(tmp_path / "device"))
    written = json.loads((tmp_path / "device.json").read_text())
    assert written["rehearsal"] is True
    assert written["bits"] == report["bits"]
    assert all(row["elements differing"] == 0 for row in written["bits"] if row["arithmetic"] == "exact")
    assert {row["leaves"] for row in written["one update"]} == {1, 161}
    text = (tmp_path / "device.md").read_text()
    assert text.startswith("Rehearsal on the CPU: no GPU was used")
    assert "### whole runs" in text
