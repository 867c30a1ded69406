import json

import numpy as np

from torch_bridge.render.json import write_json


def test_what_json_does_not_know_becomes_text(tmp_path):
    write_json({"a": (np.inf, float("nan"), 1 + 2j), 1: None}, tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == {"a": ["inf", "nan", [1.0, 2.0]], "1": None}
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
