"""The table, and whether its numbers are those that are promised."""

import statistics
from collections.abc import Iterable, Sequence

from benchmarks.faults.peers import PEERS
from benchmarks.faults.row import Row

KINDS = ("one fault", "two faults", "three faults", "public reports", "outside the catalogue", "clean ports")


def _share(rows: Sequence[Row], of: str) -> float:
    return sum(bool(getattr(row, of)) for row in rows) / len(rows)


def lines(rows: Sequence[Row]) -> Iterable[str]:
    """Yield the table in Markdown."""
    columns = ("ports", "detected", "located", "named", "agree after repair", "substitutions", "s", *PEERS, "scripts")
    yield "| | " + " | ".join(columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for kind in KINDS:
        own = [row for row in rows if row.port.kind == kind]
        if not own:
            continue
        shares = [f"{100 * _share(own, of):.1f} %" for of in ("detected", "located", "named", "agreed")]
        shares = [shares[0], *(["-"] * 3 if kind == "clean ports" else shares[1:])]
        middle = [f"{statistics.median(row.substitutions for row in own):g}"]
        middle += [f"{statistics.median(row.seconds for row in own):.1f}"]
        seen = [f"{100 * sum(row.peers[i] for row in own) / len(own):.0f} %" for i in range(len(PEERS))]
        scripts = [row.reproduced for row in own if row.reproduced is not None]
        ran = f"{sum(scripts)} of {len(scripts)}" if scripts else "-"
        yield f"| {kind} | " + " | ".join([str(len(own)), *shares, *middle, *seen, ran]) + " |"


def shortfalls(rows: Sequence[Row]) -> Iterable[str]:
    """Yield each promise that is not kept."""
    of = {kind: [row for row in rows if row.port.kind == kind] for kind in KINDS}
    faults = [row for row in rows if row.port.faults]
    planted = of["one fault"] + of["public reports"]
    promises = [
        ("detected", faults, "detected", 1.0),
        ("located", of["one fault"] + of["public reports"] + of["outside the catalogue"], "located", 0.97),
        ("named", planted, "named", 0.95),
        ("agree after repair", planted, "agreed", 0.95),
        ("pairs named", of["two faults"], "named", 0.9),
    ]
    for title, own, attribute, least in promises:
        if own and (share := _share(own, attribute)) < least:
            yield f"{title}: {100 * share:.1f} %, promised are {100 * least:.0f} %"
    if alarms := [row for row in of["clean ports"] if row.detected]:
        yield f"false alarms: {len(alarms)}"
    if faults and (median := statistics.median(row.substitutions for row in faults)) > 15:
        yield f"substitutions: {median:g} in the median, promised are 15"
    if any(row.reproduced is False for row in rows):
        yield f"scripts that show nothing: {sum(row.reproduced is False for row in rows)}"
