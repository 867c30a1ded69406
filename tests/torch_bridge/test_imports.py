"""torch stays out unless it is used."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import funcsgd
import torch_bridge
from tests.support.sampling import one_in

LAZY = ("torch", "flax", "sklearn")
HEAVY = (*LAZY, "jax", "numpy")


def imported(statement, packages=LAZY):
    """Which of the packages a fresh interpreter holds after a statement."""
    program = f"import sys\n{statement}\nprint(*[name for name in {packages!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()


def test_importing_leaves_torch_out():
    everything = "from torch_bridge import *\nimport funcsgd, torch_bridge.cli, torch_bridge.demo"
    assert imported(everything) == []


def test_the_pytest_plugin_is_there_without_jax():
    assert imported("import torch_bridge, torch_bridge.pytest_plugin", HEAVY) == []


def test_a_type_checker_and_the_interpreter_see_the_same_names():
    tree = ast.parse(Path(torch_bridge.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {
        alias.asname: node.module if node.module != "torch_bridge" else f"torch_bridge.{alias.name}"
        for node in block.body
        for alias in node.names
    }
    assert seen == torch_bridge._HOMES


def test_a_misspelt_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'torch_bridge' has no attribute 'chekc'"):
        torch_bridge.chekc  # noqa: B018 - it is the access that raises
    assert set(torch_bridge.__all__) <= set(dir(torch_bridge))


@pytest.mark.parametrize("package", [funcsgd, torch_bridge])
def test_every_public_name_is_there(package):
    assert sorted(package.__all__) == package.__all__
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize("name", one_in(len(LAZY), LAZY))
def test_this_check_can_fail(name):
    assert name in imported(f"import funcsgd, {name}")


LAYERS = ("render", "demo", "cli")
"""What is made of reports: the checks themselves know nothing of it."""


@pytest.mark.parametrize("layer", ["judge", "trace", "replaying", "translate", "weights", "random", "data", "init"])
def test_checks_do_not_import_what_shows_them(layer):
    folder = Path(torch_bridge.__file__).parent / layer
    upward = re.compile(rf"(from|import) torch_bridge\.({'|'.join(LAYERS)})\b")
    assert [path.name for path in folder.rglob("*.py") if upward.search(path.read_text())] == []
