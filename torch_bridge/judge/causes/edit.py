"""A fix as a change of the port's file, which a program can apply."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher


@dataclass(frozen=True)
class FileEdit:
    """Whole lines in place of others, in one file.

    Attributes:
        path: the file.
        line: the number of the first of the old lines, from 1; of the one before which new ones are put.
        old: the lines that stand there, each with its newline; empty where lines are added.
        new: the lines that shall stand there; empty where lines are removed.
    """

    path: str
    line: int
    old: str
    new: str


def lines_of(text: str) -> list[str]:
    """Return the lines of a text as Python counts them, each with its newline."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def edits_between(path: str, old: str, new: str) -> tuple[FileEdit, ...]:
    """Return the changes of whole lines that make one text of another."""
    before, after = lines_of(old), lines_of(new)
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    return tuple(
        FileEdit(path, i + 1, "".join(before[i:j]), "".join(after[k:m]))
        for kind, i, j, k, m in matcher.get_opcodes()
        if kind != "equal"
    )


def edited(text: str, edits: Sequence[FileEdit]) -> str:
    """Return a file's text with edits applied, all or none.

    Raises:
        ValueError: the text is not the one that the edits were made for.
    """
    lines = lines_of(text)
    for edit in sorted(edits, key=lambda edit: -edit.line):
        old, start = lines_of(edit.old), edit.line - 1
        if lines[start : start + len(old)] != old or start > len(lines):
            raise ValueError(f"{edit.path} has changed at line {edit.line} since it was checked: check it again")
        lines[start : start + len(old)] = lines_of(edit.new)
    return "".join(lines)
