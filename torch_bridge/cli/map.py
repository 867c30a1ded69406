"""``torch-bridge map``."""

from rich.text import Text

from torch_bridge.cli.app import AsJson, RunName, TraceFile, answering, app, load, show
from torch_bridge.cli.port_file import PortName, load_port
from torch_bridge.weights import map_weights


@app.command(name="map")
def map_command(trace: TraceFile, port: PortName, run: RunName = None, as_json: AsJson = False) -> None:
    """Pair the tensors of a recorded model with the leaves of a port's parameters, and print what is done to each.

    The port's dict holds the parameters as ``params``, and may hold ``overrides``, see torch_bridge.map_weights. Exit
    status: 0; 2 if they cannot be paired.
    """
    recorded = load(trace, run)
    with answering():
        given = load_port(port, recorded)
        if "params" not in given:
            raise ValueError(f"{port} gives no params: add the JAX parameters, any pytree, to the dict it returns")
        weights = map_weights(recorded, given["params"], overrides=given.get("overrides"))
    rows = [
        {"leaf": pair.path, "tensors": list(pair.tensors), "operation": str(pair.operation), "by": pair.by}
        for pair in weights.pairs
    ]
    show(Text(str(weights)), rows, as_json)
