"""``torch-bridge diff``."""

from pathlib import Path
from typing import Annotated

import typer

from torch_bridge.cli.app import AsJson, RunName, TraceFile, answering, app, load, show, steps_shown
from torch_bridge.judge.compare import compare
from torch_bridge.render.text import render_comparison
from torch_bridge.trace.trace import Trace


@app.command()
def diff(
    reference: TraceFile,
    candidate: Annotated[Path, typer.Argument(help="Another one, to be compared with the first.")],
    run: RunName = None,
    other_run: Annotated[
        str | None, typer.Option("--other-run", help="Likewise, of the second file; by default that of --run.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two recorded runs bit by bit, whatever recorded them.

    Exit status: 0 if no bit differs; 1 if one does; 2 if they could not be compared.
    """
    left, right = load(reference, run), _candidate(candidate, run, other_run)
    with answering(), steps_shown(min(left.n_steps, right.n_steps)) as advance:
        comparison = compare(left, right, progress=advance)
    show(render_comparison(comparison), comparison.to_dict(), as_json)
    raise typer.Exit(0 if comparison.identical else 1)


def _candidate(path: Path, run: str | None, other_run: str | None) -> Trace:
    """The second trace; a file with one run, such as a replay's, needs no name."""
    with answering():
        n_runs = len(Trace.load_all(path))
    return load(path, other_run or (run if n_runs > 1 else None))
