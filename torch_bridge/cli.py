"""The command line: ``torch-bridge``."""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from torch_bridge.demo import FAULTS, run
from torch_bridge.demo.run import N_PROGRESS
from torch_bridge.demo.show import render_demo
from torch_bridge.render.json import write_json
from torch_bridge.trace.trace import Trace
from torch_bridge.translate.explain import explain as explain_recipe
from torch_bridge.translate.recipe_data import recorded_recipe

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def main() -> None:
    """Run the command line."""
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"torch-bridge {version('funcsgd')}")
        raise typer.Exit


@app.callback()
def torch_bridge(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Say whether a JAX port of a PyTorch run is identical, the same function, imprecise or different, and where."""


@app.command()
def demo(
    fault: Annotated[
        str | None, typer.Option(help="Plant a fault in the JAX side and see it found; an unknown name lists them all.")
    ] = None,
    report: Annotated[Path, typer.Option(help="Where the report is written, as JSON.")] = Path(
        "torch-bridge-demo.json"
    ),
) -> None:
    """Train a digits classifier in PyTorch and in JAX, and say whether they are the same function.

    PyTorch runs live if it is installed; otherwise its recorded run is taken. Exit status: 0 if the port is the same
    function, computed as precisely as PyTorch does it; 1 if it is different or imprecise; 2 if they could not be
    compared.
    """
    console = Console()
    if fault is not None and fault not in FAULTS:
        _leave(f"there is no fault {fault!r}; there are {', '.join(FAULTS)}")
    folder = report.resolve().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK) or report.is_dir():
        _leave(f"cannot write the report {report}: choose another place with --report")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("PyTorch and JAX", total=N_PROGRESS)
            result = run(fault, progress=lambda: progress.advance(task))
        write_json(result.to_dict(), report)
    except (ValueError, ImportError, OSError, RuntimeError) as error:  # status 1 is for a finding alone
        _leave(str(error))
    console.print(render_demo(result), soft_wrap=True)
    console.print(f"report: {report}")
    raise typer.Exit(0 if result.ok else 1)


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

    The script's output, exit status and results stay what they are; what could not be seen is said on stderr. Exit
    status: the script's own; 2 if nothing could be recorded.
    """
    stderr = sys.stderr  # whatever the script makes of it
    try:
        from torch_bridge.recording.script import record_script

        status = record_script(
            script,
            arguments or [],
            output=output,
            steps=steps,
            tell=lambda sentence: print(f"torch-bridge: {sentence}", file=stderr),
        )
    except (ImportError, OSError, ValueError) as error:
        _leave(str(error))
    raise typer.Exit(status)


@app.command()
def explain(
    trace: Annotated[Path, typer.Argument(help="A trace that torch_bridge.record wrote.")],
    epochs: Annotated[
        int | None, typer.Option(help="How many scheduler.step() the whole run makes; by default as many as recorded.")
    ] = None,
) -> None:
    """Print a recorded recipe in funcsgd code and in the nearest plain optax code, and say what would differ there.

    Exit status: 0; 2 if there is no such trace, or it holds no recipe that can be translated.
    """
    try:
        recorded = Trace.load(trace)
        recipe = recorded_recipe(recorded.static)
        explanation = explain_recipe(recipe, epochs=epochs or -(-recorded.n_steps // recipe.steps_per_epoch))
    except (OSError, ValueError, TypeError) as error:
        _leave(f"{trace}: {error}")
    typer.echo(explanation)


def _leave(reason: str) -> NoReturn:
    typer.echo(f"torch-bridge: {reason}", err=True)
    raise typer.Exit(2)
