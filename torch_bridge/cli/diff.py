"""``torch-bridge diff``."""

from pathlib import Path
from typing import Annotated

import typer

from torch_bridge.cli.app import AsJson, TraceFile, answering, app, load, show
from torch_bridge.judge.compare import compare
from torch_bridge.render.text import render_comparison


@app.command()
def diff(
    reference: TraceFile,
    candidate: Annotated[Path, typer.Argument(help="Another one, to be compared with the first.")],
    as_json: AsJson = False,
) -> None:
    """Compare two recorded runs bit by bit, whatever recorded them.

    Exit status: 0 if no bit differs; 1 if one does; 2 if they could not be compared.
    """
    left, right = load(reference), load(candidate)
    with answering():
        comparison = compare(left, right)
    show(render_comparison(comparison), comparison.to_dict(), as_json)
    raise typer.Exit(0 if comparison.identical else 1)
