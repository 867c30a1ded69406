"""``torch-bridge port``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from torch_bridge.cli.app import RunName, TraceFile, answering, app, leave, load
from torch_bridge.files import write_whole
from torch_bridge.translate.port_script import port_script
from torch_bridge.translate.recipe_data import recorded_recipe


@app.command()
def port(
    trace: TraceFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="The script to write; no file of that name yet.")],
    epochs: Annotated[
        int | None, typer.Option(help="How many scheduler.step() the whole run makes; by default as many as recorded.")
    ] = None,
    run: RunName = None,
) -> None:
    """Write the JAX script that a port begins with: recipe, weights, data order, and a loss function to fill in.

    Exit status: 0; 2 if it could not be written.
    """
    recorded = load(trace, run)
    if output.exists():
        leave(f"{output} is there already and may hold your work: choose another name with -o")
    with answering():
        recipe = recorded_recipe(recorded.static)
        length = epochs or -(-recorded.n_steps // recipe.steps_per_epoch)
        source = port_script(recorded.static, trace=str(trace), run=run, name=output.name, epochs=length)
        again = "" if run is None else f" --run {shlex.quote(run)}"
        write_whole(output, source.encode())
    typer.echo(f"{output}: complete the lines marked FILL IN, then torch-bridge check {trace} {output}{again}")
