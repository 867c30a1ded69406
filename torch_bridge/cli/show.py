"""``torch-bridge show``."""

from typing import Any

from rich.console import Group
from rich.table import Table

from torch_bridge.cli.app import AsJson, RunName, TraceFile, app, load
from torch_bridge.cli.app import show as show_result
from torch_bridge.trace.phases import phase_of
from torch_bridge.trace.trace import Trace


@app.command()
def show(trace: TraceFile, run: RunName = None, as_json: AsJson = False) -> None:
    """Print what a trace holds: where it was recorded, the recipe, the quantities, and what could not be recorded.

    Exit status: 0; 2 if there is no such trace.
    """
    recorded = load(trace, run)
    data = summary(recorded)
    lines = [f"{key}: {value}" for key, value in data.items() if key != "quantities" and value != ""]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("phase", "arrays", "steps", "in full", "values"):
        table.add_column(column, justify="left" if column == "phase" else "right", no_wrap=True)
    for row in data["quantities"]:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else cell for cell in row.values()))
    show_result(Group(*lines, "", table), data, as_json)


def summary(trace: Trace) -> dict[str, Any]:
    """Return what a trace holds, as plain data."""
    static = trace.static
    recipe = static.get("recipe", {})
    data: dict[str, Any] = {
        "run": trace.name,
        "side": static.get("side", "unknown"),
        "steps": trace.n_steps,
        "versions": ", ".join(f"{name} {version}" for name, version in static.get("versions", {}).items()),
        "platform": ", ".join(f"{name} {value}" for name, value in static.get("platform", {}).items()),
    }
    if recipe:
        data["optimizer"] = recipe["optimizer"]
        for index, group in enumerate(recipe["groups"]):
            options = ", ".join(f"{key}={value}" for key, value in group["options"].items())
            data[f"group {index}"] = f"{len(group['names'])} parameters, {options}"
    if trace.twins:
        data["float64 twins at steps"] = ", ".join(map(str, sorted(trace.twins)))
    if "no_batches" in static:
        data["batches"] = static["no_batches"]
    for index, sentence in enumerate(static.get("not_recorded", ())):
        data[f"note {index}"] = sentence
    rows = []
    for phase in dict.fromkeys(map(phase_of, trace.keys)):
        keys = [key for key in trace.keys if phase_of(key) == phase]
        present = max(int(trace.present[key].sum()) if key in trace.present else trace.n_steps for key in keys)
        full = max(len(trace.kept[key]) if key in trace.kept else trace.n_steps for key in keys)
        values = sum(int(trace.steps[key].size) for key in keys)
        rows.append({"phase": phase, "arrays": len(keys), "steps": present, "in full": full, "values": values})
    return {**data, "quantities": rows}
