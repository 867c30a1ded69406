"""Importing the packages brings in neither torch nor what only the tests and examples need."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "flax", "sklearn")
TELL = "import sys; print([name for name in {heavy} if name in sys.modules])"


def heavy_after(statement):
    command = [sys.executable, "-c", f"{statement}; {TELL.format(heavy=HEAVY)}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("package", ["funcsgd", "torch_bridge"])
def test_heavy_packages_stay_outside(package):
    assert heavy_after(f"import {package}") == "[]"


def test_this_test_can_fail():
    assert heavy_after("import funcsgd, torch") == "['torch']"


def test_every_public_name_is_there():
    import funcsgd

    assert sorted(funcsgd.__all__) == funcsgd.__all__
    assert all(hasattr(funcsgd, name) for name in funcsgd.__all__)
