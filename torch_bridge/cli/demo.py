"""``torch-bridge demo``."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from torch_bridge.cli.app import AsJson, answering, app, leave, show
from torch_bridge.demo import FAULTS, run
from torch_bridge.demo.run import N_PROGRESS
from torch_bridge.demo.show import render_demo
from torch_bridge.render.json import write_json


@app.command()
def demo(
    fault: Annotated[
        str | None, typer.Option(help="Plant a fault in the JAX side and see it found; an unknown name lists them all.")
    ] = None,
    report: Annotated[Path, typer.Option(help="Where the report is written, as JSON.")] = Path(
        "torch-bridge-demo.json"
    ),
    as_json: AsJson = False,
) -> None:
    """Train a digits classifier in PyTorch and in JAX, and report whether they are the same function.

    PyTorch runs live if it is installed; otherwise its recorded run is taken. Exit status: 0 if the port is the same
    function, computed as precisely as PyTorch does it; 1 if it is different or imprecise; 2 if they could not be
    compared.
    """
    if fault is not None and fault not in FAULTS:
        leave(f"there is no fault {fault!r}; there are {', '.join(FAULTS)}")
    folder = report.resolve().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK) or report.is_dir():
        leave(f"cannot write the report {report}: choose another place with --report")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with answering():
        with Progress(*columns, console=Console(stderr=as_json)) as progress:
            task = progress.add_task("PyTorch and JAX", total=N_PROGRESS)
            result = run(fault, progress=lambda: progress.advance(task))
        write_json(result.to_dict(), report)
    show(render_demo(result), result.to_dict(), as_json)
    if not as_json:
        typer.echo(f"report: {report}")
    raise typer.Exit(0 if result.ok else 1)
