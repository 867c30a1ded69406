"""``kill -9`` at any moment leaves a trace with every step that was written whole."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.support.killed_writer import step
from torch_bridge.trace.digest import digest
from torch_bridge.trace.trace import Trace


@pytest.mark.parametrize("n", [6, pytest.param(50, marks=pytest.mark.thorough)])
def test_every_whole_step_is_there(tmp_path, n):
    subprocess.run([sys.executable, "-m", "tests.support.killed_writer", tmp_path, str(n), "1"], check=True)
    n_steps = []
    for number in range(n):
        kind, told = (tmp_path / f"{number}.told").read_text().split()
        trace = Trace.load(tmp_path / f"{number}.trace")
        assert not trace.complete
        assert "did not come to its end" in trace.static["not_recorded"][-1]
        assert int(told) <= trace.n_steps <= int(told) + 1
        n_steps.append(trace.n_steps)
        for t in {*range(min(5, trace.n_steps)), *range(max(0, trace.n_steps - 5), trace.n_steps)}:
            for key, value in step(t).items():
                assert np.array_equal(trace.digest(key, t), digest(value))
                found = trace.value(key, t)
                assert found is None or np.asarray(value).tobytes() == found.tobytes()
        kept = {"full": trace.n_steps, "digest": trace.n_steps // 3, "ring": min(2, trace.n_steps)}[kind]
        assert len(trace.kept.get("parameter/big", range(trace.n_steps))) == kept
        if kind == "ring":
            assert list(trace.kept["parameter/big"]) == list(range(trace.n_steps))[-2:]
            assert os.stat(tmp_path / f"{number}.trace").st_size < 4 * 2**20 + 2000 * trace.n_steps
    assert len(set(n_steps)) > 1


SCRIPT = """
import sys, torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 1))
optimizer = torch.optim.Adam(model.parameters())
for _ in range(int(sys.argv[1])):
    optimizer.zero_grad()
    model(torch.randn(8, 6)).square().mean().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()
"""


@pytest.mark.thorough
def test_a_recorded_script_is_killed(tmp_path):
    from torch_bridge.judge.compare import compare
    from torch_bridge.recording.script import record_script

    script, path = tmp_path / "script.py", tmp_path / "run.trace"
    script.write_text(SCRIPT)
    command = [sys.executable, "-c", "from torch_bridge.cli import main; main()"]
    process = subprocess.Popen([*command, "record", "-o", str(path), str(script), "1000000"], cwd=Path.cwd())
    try:
        deadline = time.monotonic() + 120
        while not (path.exists() and path.stat().st_size > 30_000):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    killed = Trace.load(path)
    assert not killed.complete
    assert killed.n_steps > 4
    assert killed.static["recipe"]["clip"]["arguments"] == {"max_norm": 0.1}
    assert record_script(script, [str(killed.n_steps)], output=tmp_path / "whole.trace", notify=lambda _: None) == 0
    whole = Trace.load(tmp_path / "whole.trace")
    assert whole.complete
    assert set(whole.steps) == set(killed.steps)
    assert compare(whole, killed).identical
