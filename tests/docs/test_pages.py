"""Each page is reached, each block runs somewhere, and what pages name is there."""

import importlib
import json
import re

import pytest

from tests.support.docs_pages import DOCS, PAGES, ROOT, fences, python_blocks

RUN_ELSEWHERE = {
    "cheatsheet.md": "test_cheatsheet.py runs its tabs",
    "README.md": "test_readme.py runs its block",
}
NOT_CODE = {"sh", "text", "console", "{toctree}", "{include} ../benchmarks/README.md", "{eval-rst}"}


def pages():
    return {path.name: path.read_text() for path in PAGES}


def test_every_block_runs_when_a_page_is_built_or_in_a_test():
    idle = []
    for name, text in pages().items():
        for head, _ in fences(text):
            runs = head.startswith(("{code-cell}", "{file} ", "{terminal}"))
            shown = head in NOT_CODE or head.startswith(("{figure}", "{image}", "{include}"))
            if not (runs or shown or (head == "python" and name in RUN_ELSEWHERE)):
                idle.append((name, head))
    assert idle == [("runs.md", "{code-block} python")]  # of two machines: test_several_processes.py does what it shows


def test_only_pages_that_are_notebooks_have_cells():
    for name, text in pages().items():
        has_cells = any(head.startswith("{code-cell}") for head, _ in fences(text))
        assert has_cells == text.startswith("---\nfile_format: mystnb\n"), name


def test_every_page_is_in_the_contents():
    index = (DOCS / "index.md").read_text()
    listed = {line for _, body in fences(index) for line in body.splitlines()}
    assert {path.stem for path in PAGES if path.parent == DOCS} - {"index"} <= listed


NAME = re.compile(r"\b(?:funcsgd|torch_bridge)(?:\.[A-Za-z_]\w*)+")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_name_exists(path):
    missing = []
    for name in sorted(set(NAME.findall(path.read_text()))):
        parts = name.split(".")
        value = importlib.import_module(parts[0])
        for depth, part in enumerate(parts[1:], 2):
            if not hasattr(value, part):
                try:
                    importlib.import_module(".".join(parts[:depth]))
                except ImportError:
                    missing.append(name)
                    break
            value = getattr(value, part)
    assert missing == []


def test_links_between_pages_lead_somewhere():
    broken = []
    for path in PAGES:
        for target in re.findall(r"\]\(([\w./-]+\.md)(?:#[\w-]+)?\)", path.read_text()):
            if not (path.parent / target).exists():
                broken.append((path.name, target))
    assert broken == []


def test_the_notebook_holds_no_output_and_installs_only_where_it_must():
    for path in (DOCS / "notebooks").glob("*.ipynb"):
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
        installing = ["".join(cell["source"]) for cell in cells if "pip install" in "".join(cell["source"])]
        assert len(installing) == 1
        assert installing[0].startswith("import importlib.util")


def test_a_block_is_found():
    assert python_blocks("text\n```python\nx = 1\n```\n```sh\nls\n```\n") == ["x = 1\n"]
    assert ROOT.joinpath("docs", "conf.py").exists()
