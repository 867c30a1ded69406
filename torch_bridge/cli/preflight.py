"""``torch-bridge preflight``."""

import dataclasses

import typer

from torch_bridge.cli.app import AsJson, TraceFile, answering, app, load, show
from torch_bridge.cli.port_file import PortName, load_port
from torch_bridge.judge.preflight.preflight import preflight as fly
from torch_bridge.render.text import render_preflight

KEYS = ("tx", "loss_fn", "data", "weights", "buffers", "params", "order", "opt_state")
"""What the preflight takes of what a port gives."""


@app.command()
def preflight(trace: TraceFile, port: PortName, as_json: AsJson = False) -> None:
    """Compare recipe, data and environment of a JAX port with a recorded run, before a step is run.

    The port's dict may also hold its own first parameters as ``params``. Exit status: 0 if nothing differs; 1 if
    something does; 2 if they could not be compared.
    """
    recorded = load(trace)
    with answering():
        given = load_port(port, recorded)
        result = fly(recorded, **{key: given[key] for key in KEYS if key in given})
    show(render_preflight(result), dataclasses.asdict(result), as_json)
    raise typer.Exit(1 if result.findings else 0)
