"""The pages of the documentation and README as tests read them: their fences, and the code that makes pages."""

import importlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *(path for path in DOCS.glob("*.md") if path.name != "README.md")])
FENCE = re.compile(r"^(`{3,})(.*)\n((?:.*\n)*?)\1$", re.M)
TAB = re.compile(r"^:::\{tab-item\} (\w+)\n(.*?)^:::$", re.M | re.S)


def extension(name):
    """A module of ``docs/_extensions``."""
    folder = str(DOCS / "_extensions")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


def fences(text):
    """Language or directive, and content, of every fence, in order."""
    for _, head, body in FENCE.findall(text):
        yield head.strip(), body


def python_blocks(text):
    """The blocks that are plain Python: neither run when the page is built nor written by it."""
    return [body for head, body in fences(text) if head == "python"]


def tab_sets(text):
    """From each heading to its tabs, from the tab's name to its code."""
    found = {}
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        tabs = {name: "\n".join(python_blocks(body)) for name, body in TAB.findall(section)}
        if tabs:
            found[section.splitlines()[0]] = tabs
    return found
