"""``torch-bridge record``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from torch_bridge.cli.app import app


@app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def record(
    script: Annotated[str, typer.Argument(help="A PyTorch script, which stays as it is.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="What the script is given.")] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The first optimizer's trace; others get a number in their names.")
    ] = Path("run.trace"),
    steps: Annotated[
        int | None, typer.Option(help="Record so many steps of each optimizer; the script goes on.")
    ] = None,
) -> None:
    """Run a PyTorch script and record what its optimizers do.

    The script's output, exit status and results do not change; sentences on what could not be recorded go to stderr.
    Exit status: the script's own; 2 if nothing could be recorded.
    """
    stderr = sys.stderr  # the script may replace it

    def notify(sentence: str) -> None:
        print(f"torch-bridge: {sentence}", file=stderr)

    try:
        from torch_bridge.recording.script import record_script

        status = record_script(script, arguments or [], output=output, steps=steps, notify=notify)
    except (ImportError, OSError, ValueError) as error:
        notify(str(error))
        status = 2
    raise typer.Exit(status)
