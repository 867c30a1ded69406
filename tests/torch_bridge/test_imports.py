"""torch stays out unless it is used."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import funcsgd
import torch_bridge

LAZY = ("torch", "flax", "sklearn")


def imported(statement):
    """Which of the lazy packages a fresh interpreter holds after a statement."""
    program = f"import sys\n{statement}\nprint(*[name for name in {LAZY!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


def test_importing_leaves_torch_out():
    assert imported("import funcsgd, torch_bridge, torch_bridge.cli, torch_bridge.demo") == []


@pytest.mark.parametrize("package", [funcsgd, torch_bridge])
def test_every_public_name_is_there(package):
    assert sorted(package.__all__) == package.__all__
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize("name", LAZY)
def test_this_check_can_fail(name):
    assert name in imported(f"import funcsgd, {name}")


LAYERS = ("render", "demo", "cli")
"""What is made of reports: the checks themselves know nothing of it."""


@pytest.mark.parametrize("layer", ["judge", "trace", "replaying", "translate", "weights", "random", "data", "init"])
def test_checks_do_not_import_what_shows_them(layer):
    folder = Path(torch_bridge.__file__).parent / layer
    upward = re.compile(rf"(from|import) torch_bridge\.({'|'.join(LAYERS)})\b")
    assert [path.name for path in folder.rglob("*.py") if upward.search(path.read_text())] == []
