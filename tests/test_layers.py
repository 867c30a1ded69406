"""Imports go downward: nothing general imports what is built from it, and no two modules need each other."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = {
    "funcsgd": (
        ("arithmetic", "hyperparameters", "per_leaf", "observation", "manifest"),
        ("schedules", "verification"),
        ("stages",),
        ("optimizers", "averages", "curvature"),
        ("noisy_quadratic", "training"),
        ("__init__",),
    ),
    "torch_bridge": (
        ("files", "random", "square_root"),
        ("init", "data", "trace", "translate"),
        ("weights",),
        ("recording", "replaying", "checkpoint"),
        ("judge",),
        ("fixes", "render"),
        ("demo", "parity"),
        ("cli", "pytest_plugin", "__init__"),
    ),
}
"""Parts of a package, a module or a folder each, from the bottom up: a part imports from itself and from below."""


def modules(root, package):
    """The names of a package's modules and their files; a folder is its ``__init__``."""
    files = sorted((root / package).rglob("*.py"))
    return {".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports(file):
    """The modules, or names in modules, that a file imports when it is imported, and the lines it does so in."""
    waiting = list(ast.parse(file.read_text()).body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue  # not imported before it is called
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}:{node.lineno} imports relatively"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        waiting += ast.iter_child_nodes(node)


def graph(root, package):
    """The modules of the package that each of its modules imports, with the lines."""
    known = modules(root, package)
    found = {name: {} for name in known}
    for name, file in known.items():
        for imported, line in imports(file):
            module = imported if imported in known else imported.rpartition(".")[0]
            if module in known and module != name:
                found[name].setdefault(module, line)
    return found


def part_of(name):
    return name.split(".")[1] if "." in name else "__init__"


def upward(root, package, layers):
    """Imports that go from a part to one above it or beside it, in words."""
    height = {part: at for at, parts in enumerate(layers) for part in parts}
    for name, imported in graph(root, package).items():
        here = part_of(name)
        for other, line in imported.items():
            there = part_of(other)
            if here != there and height[there] >= height[here]:
                yield f"{name} imports {other} in line {line}: {there} is not below {here}"


def circle(root, package):
    """A circle of imports, or None."""
    needed = {name: set(imported) for name, imported in graph(root, package).items()}
    for name, others in needed.items():  # a folder's modules need not be imported through its __init__
        needed[name] = {other for other in others if not name.startswith(f"{other}.")}
    try:
        TopologicalSorter(needed).prepare()
    except CycleError as error:
        return error.args[1]
    return None


@pytest.mark.parametrize("package", LAYERS)
def test_every_part_has_its_layer(package):
    parts = {part_of(name) for name in modules(ROOT, package)}
    assert parts == {part for layer in LAYERS[package] for part in layer}


@pytest.mark.parametrize("package", LAYERS)
def test_no_import_goes_upward(package):
    assert list(upward(ROOT, package, LAYERS[package])) == []


@pytest.mark.parametrize("package", LAYERS)
def test_no_two_modules_need_each_other(package):
    assert circle(ROOT, package) is None


def test_funcsgd_imports_nothing_of_torch_bridge():
    for file in modules(ROOT, "funcsgd").values():  # in functions neither
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "torch_bridge" for name in names), f"{file}:{node.lineno}"


@pytest.fixture
def small(tmp_path):
    """Write a package of two parts, the second above the first."""

    def write(**files):
        for part in ("low", "high"):
            (tmp_path / "small" / part).mkdir(parents=True)
            (tmp_path / "small" / part / "__init__.py").write_text("")
        (tmp_path / "small" / "__init__.py").write_text("")
        for name, text in files.items():
            (tmp_path / "small" / f"{name.replace('_', '/')}.py").write_text(text)
        return tmp_path, "small"

    return write


PARTS = (("low",), ("high",), ("__init__",))


def test_an_import_upward_is_found(small):
    place = small(low_a="import small.high.b\n", high_b="")
    assert list(upward(*place, PARTS)) == ["small.low.a imports small.high.b in line 1: high is not below low"]


def test_an_import_downward_or_in_a_function_is_fine(small):
    place = small(
        low_a="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import small.high.b\n",
        low_c="def late():\n    from small.high import b\n    return b\n",
        high_b="from small.low import a, c\n",
    )
    assert list(upward(*place, PARTS)) == []
    assert circle(*place) is None


def test_a_circle_is_found(small):
    place = small(
        low_a="from small.low.b import x\n", low_b="try:\n    from small.low import a\nexcept ImportError: ...\n"
    )
    assert list(upward(*place, PARTS)) == []
    assert sorted(set(circle(*place))) == ["small.low.a", "small.low.b"]
