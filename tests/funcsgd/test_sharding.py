"""Eight devices: states keep their parameters' sharding, and every rule runs where arrays are sharded."""

import os
import subprocess
import sys

import pytest


@pytest.mark.thorough
@pytest.mark.parametrize(
    "rules", ["momentum,clip in any order,average", pytest.param("all", marks=pytest.mark.thorough)]
)
def test_eight_devices(rules):
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    command = [sys.executable, "-W", "error", "-m", "tests.support.on_eight_devices", rules]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("check_") == 4
