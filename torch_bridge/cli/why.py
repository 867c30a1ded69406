"""``torch-bridge why``."""

from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from torch_bridge.cli.app import AsJson, answering, app, show
from torch_bridge.judge.causes.catalogue import CATALOGUE, entry_named
from torch_bridge.judge.causes.entry import Entry


@app.command()
def why(
    name: Annotated[
        str | None, typer.Argument(help="The name of a cause in a report; without one, all are listed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain a cause of a difference: what the fault is and how it is mended; or list the causes that are known.

    Exit status: 0; 2 if there is no such cause.
    """
    if name is None:
        show(_table(), [as_data(entry) for entry in CATALOGUE.values()], as_json)
        return
    with answering():
        entry = entry_named(name)
    lines = [f"{entry.name}, a cause in {entry.family}", "", entry.does, "", f"Fix: {as_data(entry)['fix']}"]
    show(Group(*map(Text, lines)), as_data(entry), as_json)


def as_data(entry: Entry) -> dict[str, Any]:
    """Return an entry as plain data; where torch's number stands in its fix it says so."""
    words = {"torch": "TORCH'S", "constant": "YOURS"}
    return {
        "name": entry.name,
        "family": entry.family,
        "does": entry.does,
        "fix": entry.fix.format(**words),
        "fits": entry.number or "a constant" if entry.fitted else None,
    }


def _table() -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("family", "name", "what it is"):
        table.add_column(column, no_wrap=column != "what it is")
    families: set[str] = set()
    for entry in CATALOGUE.values():
        table.add_row("" if entry.family in families else entry.family, entry.name, entry.does)
        families.add(entry.family)
    return table
