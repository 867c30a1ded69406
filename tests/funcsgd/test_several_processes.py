"""Two processes on loopback: what one process gets, and an error where the other one is gone."""

import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

import funcsgd
from tests.support import one_of_two_processes


def start(die):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    command = [sys.executable, "-m", "tests.support.one_of_two_processes"]
    return [
        subprocess.Popen(
            [*command, str(number), str(port), str(int(die))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number in range(2)
    ]


@pytest.mark.thorough
def test_both_get_what_one_process_gets_and_a_killed_one_ends_the_other_in_an_error():
    processes = start(die=True)
    try:
        second, _ = processes[1].communicate(timeout=120)
        first, error = processes[0].communicate(timeout=60)  # seconds after the kill
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert processes[1].returncode == -signal.SIGKILL
    assert processes[0].returncode != 0
    assert "JaxRuntimeError" in error
    wanted = one_of_two_processes.results()
    for text in (first, second):
        got = json.loads(next(line for line in text.splitlines() if line.startswith("{")))
        assert got.keys() == wanted.keys()
        for name in ("grid", "keys", "pieces"):
            assert got[name] == wanted[name]
        for name in ("train", "resumed"):  # sums over two devices
            np.testing.assert_allclose(got[name], wanted[name], rtol=1e-5)
        assert got["train"] == got["resumed"]


def test_devices_of_others_alone_are_refused(monkeypatch):
    monkeypatch.setattr("jax.process_index", lambda: 1)
    with pytest.raises(ValueError, match="none of the devices belongs to this process, number 1"):
        funcsgd.sweep(lambda x: x, np.arange(3.0))
