"""``torch-bridge record``."""

import sys
from pathlib import Path
from typing import Annotated, cast

import typer

from torch_bridge.cli.app import app
from torch_bridge.trace.keep import Keep, Mode


@app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True})
def record(
    script: Annotated[str, typer.Argument(help="A PyTorch script, which stays as it is.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="What the script is given.")] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The trace file, with a run for each optimizer of the script.")
    ] = Path("run.trace"),
    steps: Annotated[
        int | None, typer.Option(help="Record so many steps of each optimizer; the script goes on.")
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            help="What is kept: full, every tensor; digest, of each tensor a digest, and gradients in full; ring, of "
            "the last steps every tensor, and digests of those before."
        ),
    ] = "full",
    every: Annotated[int | None, typer.Option(help="Of digest: keep each k-th step in full as well.")] = None,
    last: Annotated[int | None, typer.Option(help="Of ring: how many steps; by default 10.")] = None,
    gradients: Annotated[bool, typer.Option(help="Of digest: keep gradients in full.")] = True,
) -> None:
    """Run a PyTorch script and record what its optimizers do.

    The file is written as the script goes: if the process is killed, it holds the steps that were written whole.
    The script's output, exit status and results do not change; sentences on what could not be recorded go to stderr.
    Exit status: the script's own; 2 if nothing could be recorded.
    """
    stderr = sys.stderr  # the script may replace it

    def notify(sentence: str) -> None:
        print(f"torch-bridge: {sentence}", file=stderr)

    try:
        from torch_bridge.recording.script import record_script

        keep = Keep(cast(Mode, mode), every, 10 if mode == "ring" and last is None else last, gradients)
        status = record_script(script, arguments or [], output=output, steps=steps, keep=keep, notify=notify)
    except (ImportError, OSError, ValueError) as error:
        notify(str(error))
        status = 2
    raise typer.Exit(status)
