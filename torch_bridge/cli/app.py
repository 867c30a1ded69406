"""The command line's frame: ``torch-bridge``, its version, and what every command does the same way."""

import json
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console, RenderableType
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from torch_bridge.render.json import plain
from torch_bridge.trace.trace import Trace

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON in place of text.")]
RunName = Annotated[str | None, typer.Option("--run", help="Of a file with several runs, the name of one.")]
TraceFile = Annotated[Path, typer.Argument(help="A trace: of torch_bridge.record, a replay or a JaxRecorder.")]


def main() -> None:
    """Run the command line."""
    app()


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"torch-bridge {version('funcsgd')}")
        raise typer.Exit


@app.callback()
def torch_bridge(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Say whether a JAX port of a PyTorch run is identical, the same function, imprecise or different, and where."""


def leave(reason: str) -> NoReturn:
    """End with exit status 2: the command could not be carried out."""
    typer.echo(f"torch-bridge: {reason}", err=True)
    raise typer.Exit(2)


@contextmanager
def answering() -> Iterator[None]:
    """Turn what prevents an answer into a sentence and exit status 2; status 1 is for a finding alone.

    An error from a port's own code is named with its type and line.
    """
    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:
        if place := _place_in_a_port(error):
            leave(f"{place}: {type(error).__name__}: {error}".removesuffix(": "))
        if not isinstance(error, ValueError | TypeError | KeyError | ImportError | OSError | RuntimeError):
            traceback.print_exc()
        leave(str(error) or type(error).__name__)


def _place_in_a_port(error: Exception) -> str:
    """The innermost line of the traceback that is neither of this package nor of an installed one; empty if none is."""
    others = str(Path(__file__).parents[1]), *sysconfig.get_paths().values(), "<"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(others):
            return f"{Path(frame.filename).name}:{frame.lineno}, in {frame.name}"
    return ""


def load(path: Path, run: str | None = None) -> Trace:
    """Open a trace, of several runs in a file the one that is named."""
    with answering():
        trace = Trace.load(path, run)
    if not trace.complete:
        typer.echo(f"torch-bridge: {path} was cut off: it has the first {trace.n_steps} steps of its run", err=True)
    return trace


@contextmanager
def steps_shown(total: int | None = None, what: str = "steps") -> Iterator[Callable[[], None]]:
    """Show on stderr how many steps, or what else is counted, are done; gives what is to be called after each."""
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def show(result: RenderableType, data: Any, as_json: bool) -> None:
    """Print a result as text or as JSON."""
    if as_json:
        typer.echo(json.dumps(plain(data), indent=2, allow_nan=False))
    else:
        Console().print(result, soft_wrap=True)
