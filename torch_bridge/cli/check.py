"""``torch-bridge check``."""

from pathlib import Path
from typing import Annotated

import typer

from torch_bridge.cli.app import AsJson, RunName, TraceFile, answering, app, load, show, steps_shown
from torch_bridge.cli.port_file import PortName, load_port
from torch_bridge.judge.check import check as check_port
from torch_bridge.render.json import write_json
from torch_bridge.render.text import render_report


@app.command()
def check(
    trace: TraceFile,
    port: PortName,
    report: Annotated[Path | None, typer.Option(help="Write the report there, as JSON.")] = None,
    allow_imprecise: Annotated[bool, typer.Option(help="Let an imprecise port count as the same.")] = False,
    run: RunName = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a JAX port is the recorded PyTorch run: the same bits, the same function, or another one.

    Exit status: 0 if it is the same; 1 if it is different or imprecise; 2 if they could not be compared.
    """
    recorded = load(trace, run)
    with answering():
        options = load_port(port, recorded)
        with steps_shown() as advance:
            result = check_port(recorded, **{"allow_imprecise": allow_imprecise, **options}, progress=advance)
        if report is not None:
            write_json(result.to_dict(), report)
    show(render_report(result), result.to_dict(), as_json)
    raise typer.Exit(0 if result.ok else 1)
