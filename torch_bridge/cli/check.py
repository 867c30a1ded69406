"""``torch-bridge check``."""

from pathlib import Path
from typing import Annotated

import typer

from torch_bridge.cli.app import AsJson, RunName, TraceFile, answering, app, leave, load, show, steps_shown
from torch_bridge.cli.edits import mended, write_edits
from torch_bridge.cli.port_file import PortName, load_port
from torch_bridge.judge.check import check as check_port
from torch_bridge.judge.report import Report
from torch_bridge.render.github import render_github
from torch_bridge.render.text import render_report


@app.command()
def check(
    trace: TraceFile,
    port: PortName,
    report: Annotated[
        Path | None,
        typer.Option(help="Write report.json, report.html and junit.xml into this folder; reproduce.py if it differs."),
    ] = None,
    github: Annotated[bool, typer.Option("--github", help="Print annotations for GitHub Actions as well.")] = False,
    allow_imprecise: Annotated[bool, typer.Option(help="Let an imprecise port count as the same.")] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Change the port's file as the report proposes, and print what was changed.")
    ] = False,
    edits: Annotated[
        bool,
        typer.Option(help="Seek the change of the port's file that mends it; each is tried by a check of its own."),
    ] = True,
    run: RunName = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a JAX port is the recorded PyTorch run: the same bits, the same function, or another one.

    Exit status: 0 if it is the same; 1 if it is different or imprecise; 2 if they could not be compared.
    """
    if report is not None and report.exists() and not report.is_dir():
        leave(f"--report={report} is a file: give a folder, or the name of a new one")
    recorded = load(trace, run)
    with answering():
        options = load_port(port, recorded)
        with steps_shown() as advance:
            result = check_port(recorded, **{"allow_imprecise": allow_imprecise, **options}, progress=advance)
        if not result.ok and (edits or fix):
            result = mended(result, recorded, port, allow_imprecise=allow_imprecise)
        if report is not None:
            result.save(report)
            if not result.ok:
                _reproduce(result, report / "reproduce.py", port, trace)
    show(render_report(result), result.to_dict(), as_json)
    if github:
        source = port.rpartition(":")[0] if ".py:" in port else port
        for line in render_github(result, source if source.endswith(".py") else None):
            typer.echo(line)
    if fix and not result.ok:
        write_edits([edit for cause in result.causes for edit in cause.edits])
    raise typer.Exit(0 if result.ok else 1)


def _reproduce(result: Report, script: Path, port: str, trace: Path) -> None:
    """Write the script of the first difference; where it cannot be isolated, the report stands without it."""
    try:
        result.reproduce(script, port=port, trace=trace)
    except Exception as error:  # the port's own functions are run here
        typer.echo(f"torch-bridge: there is no {script.name}: {type(error).__name__}: {error}", err=True)
