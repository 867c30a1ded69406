"""Pages that are walked through: files are written and commands run when a page is built, and their output is shown.

A page holds fences of two kinds::

    ```{file} train.py                 a file, written into the page's own folder
    ```{terminal}                      commands, one a line, run there in turn
    :status: 1                         of the last one; 0 unless it is said
    :publish: report                   a folder that is put on the site, under the page's name

`fences` finds them in a page's text, and `Walk` carries them out; a test follows a page by the same two.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

FENCE = re.compile(r"^```\{(file|terminal)\} ?(.*)\n((?:.*\n)*?)```$", re.M)
OPTION = re.compile(r"^:(\w+): (.*)\n", re.M)

WIDTH = 100
"""Columns of the terminal."""


@dataclass
class Walk:
    """A folder in which the files and the commands of a page come one after the other."""

    folder: Path

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        (self.folder / name).write_text(text.rstrip("\n") + "\n")

    def run(self, commands: str, status: int = 0) -> str:
        """Run commands and return what a reader would see: each behind its prompt, with its output.

        Raises:
            RuntimeError: a command ends with another status than the one that is expected.
        """
        shown = []
        lines = [line for line in commands.splitlines() if line.strip()]
        for index, line in enumerate(lines):
            expected = status if index == len(lines) - 1 else 0
            path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
            environment = {**os.environ, "PATH": path, "COLUMNS": str(WIDTH), "NO_COLOR": "1"}
            done = subprocess.run(
                ["bash", "-c", line],
                cwd=self.folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=900,
                check=False,
            )
            output = "\n".join(each.rstrip() for each in done.stdout.rstrip().splitlines())
            if done.returncode != expected:
                raise RuntimeError(f"{line!r} ended with status {done.returncode}, not {expected}:\n{output}")
            shown.append(f"$ {line}\n{output}".rstrip())
        return "\n".join(shown)


def fences(text: str) -> Iterator[tuple[str, str, dict[str, str], str]]:
    """Find the fences of a page: kind, argument, options and content of each, in order."""
    for kind, argument, body in FENCE.findall(text):
        options = dict(OPTION.findall(body)) if kind == "terminal" else {}
        content = OPTION.sub("", body) if kind == "terminal" else body
        yield kind, argument.strip(), options, content.strip("\n") + "\n"


def folded(session: str) -> str:
    """Break sentences that are longer than a line between words; a terminal would break them anywhere."""
    lines = []
    for line in session.splitlines():
        lines += textwrap.wrap(line, WIDTH, break_long_words=False) if len(line) > WIDTH else [line]
    return "\n".join(lines)


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
