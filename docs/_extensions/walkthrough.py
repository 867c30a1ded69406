"""A page that is walked through: its files are written and its commands run in turn, in a folder of its own.

A page holds fences of two kinds::

    ```{file} train.py                 a file, written into the page's own folder
    ```{terminal}                      commands, one a line, run there in turn
    :status: 1                         of the last one; 0 unless it is said
    :publish: report                   a folder that is put on the site, under the page's name

`fences` finds them in a page's text and `Walk` carries them out. The site's directives (`terminal`) and the tests
follow a page by these two; nothing here needs Sphinx.
"""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
