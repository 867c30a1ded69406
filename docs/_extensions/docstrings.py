"""Docstrings as reStructuredText: the library's own headings beside those that napoleon knows."""

import re
from typing import Any

from sphinx.application import Sphinx

OWN = re.compile(r"^(Equation|Exactness|Source|Differs from)\b")
"""Headings that stand at the beginning of a paragraph, with text behind them."""


def emphasise(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Set the library's own headings in bold."""
    lines[:] = [OWN.sub(r"**\1**", line) for line in lines]


def without_aliases(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples: the class's own docstring has them under Attributes."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect before napoleon, which takes what is left."""
    app.setup_extension("sphinx.ext.napoleon")
    app.connect("autodoc-process-docstring", emphasise, priority=400)
    app.connect("autodoc-skip-member", without_aliases)
    return {"parallel_read_safe": True}
