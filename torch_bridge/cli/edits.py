"""Proved changes of a port's file: sought for a report, and written where that was asked for."""

import difflib
import shutil
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import typer

from torch_bridge.cli.app import steps_shown
from torch_bridge.cli.port_file import load_text, port_path
from torch_bridge.files import beside
from torch_bridge.fixes.proof import with_edits
from torch_bridge.judge.causes.edit import FileEdit, edited, lines_of
from torch_bridge.judge.check import check
from torch_bridge.judge.report import Report
from torch_bridge.trace.trace import Trace


def mended(report: Report, trace: Trace, port: str, *, allow_imprecise: bool) -> Report:
    """Return a report with the changes of the port's file after which it passes; as it is for a module's port.

    Args:
        report: of the port as it is.
        trace: the recorded run.
        port: as the command line takes it; its file is run again for each change that is tried.
        allow_imprecise: as for `torch_bridge.check`.
    """
    path = port_path(port)
    if path is None or not report.causes:
        return report
    text, module = path.read_bytes().decode(), sys.modules.get(path.stem)
    names = dict(vars(module)) if module is not None else {}

    with steps_shown(what="changes tried") as advance:

        def passes(changed: str) -> bool:
            advance()
            with redirect_stdout(StringIO()):  # what the file prints it has printed once
                try:
                    given = {"allow_imprecise": allow_imprecise, **load_text(port, changed, trace)}
                    return check(trace, **{**given, "explain": False}).ok
                except Exception:  # a change may make nonsense of the port
                    return False

        return with_edits(report, str(path), text, names, trace, passes)


def write_edits(edits: Sequence[FileEdit]) -> None:
    """Change files as edits say, each whole or not at all, and print the difference."""
    if not edits:
        typer.echo("torch-bridge: no change of the port's file was found that passes: see the fix in words", err=True)
        return
    for name in dict.fromkeys(edit.path for edit in edits):
        path = Path(name).resolve()
        before = path.read_bytes().decode()
        after = edited(before, [edit for edit in edits if edit.path == name])
        difference = difflib.unified_diff(lines_of(before), lines_of(after), name, f"{name}, fixed")
        typer.echo("".join(difference), nl=False)
        other = beside(path)
        try:
            other.write_bytes(after.encode())
            shutil.copymode(path, other)
            other.replace(path)
        finally:
            other.unlink(missing_ok=True)
