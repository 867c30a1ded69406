"""Directives for pages that are walked through: `walkthrough` says what they are; their output is shown on the site."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from walkthrough import Walk, folded


class FileFence(SphinxDirective):
    """Writes a file and shows it under its name."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the code, with the name as its caption."""
        text = "\n".join(self.content)
        _walk_of(self.env).write(self.arguments[0], text)
        language = "python" if self.arguments[0].endswith(".py") else "text"
        code = nodes.literal_block(text, text, language=language)
        caption = nodes.caption("", self.arguments[0])
        return [nodes.container("", caption, code, literal_block=True, classes=["literal-block-wrapper"])]


class TerminalFence(SphinxDirective):
    """Runs commands and shows them with their output."""

    has_content = True
    option_spec = {"status": directives.nonnegative_int, "publish": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Return the session as a console."""
        walk = _walk_of(self.env)
        try:
            session = walk.run("\n".join(self.content), self.options.get("status", 0))
        except RuntimeError as error:
            raise ExtensionError(f"{self.env.docname}: {error}") from error
        if published := self.options.get("publish"):
            place = Path(self.env.srcdir) / "_generated" / "published" / Path(self.env.docname).name
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(walk.folder / published, place)
        session = folded(session)
        return [nodes.literal_block(session, session, language="console", force=True, classes=["terminal"])]


def _walk_of(env: Any) -> Walk:
    """The walk of the page that is read."""
    walks = env.app.__dict__.setdefault("_walks", {})
    if env.docname not in walks:
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        walks[env.docname] = folder, Walk(Path(folder.name))
    walk: Walk = walks[env.docname][1]
    return walk


def setup(app: Sphinx) -> dict[str, Any]:
    """Add both fences."""
    app.add_directive("file", FileFence)
    app.add_directive("terminal", TerminalFence)
    return {"parallel_read_safe": False}
