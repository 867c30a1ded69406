"""A report as the page shows it: plain data of a size that does not grow with the run or the model."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from torch_bridge.judge.findings import FunctionFinding
from torch_bridge.judge.layers.layer import Layer
from torch_bridge.judge.report import Report
from torch_bridge.judge.rule_findings import RuleFinding
from torch_bridge.judge.sentence import hazard_words

ROWS = 80
"""The number of rows a table of quantities has at most: those that are furthest off."""

COLUMNS = 24
"""The number of evaluated steps a map has at most: the first ones, and the one of the difference."""


def page_data(report: Report) -> dict[str, Any]:
    """Return what the page shows, for ``page/report.js``."""
    return {
        "verdict": report.verdict,
        "sentence": str(report),
        "preflight": _plain(report.preflight),
        "difference": _plain(report.difference),
        "causes": [_plain(cause) for cause in report.causes],
        "tried": [_plain(trial) for trial in report.tried],
        "place": list(report.place),
        "substitutions": report.substitutions,
        "layers": [_layer(layer) for layer in report.layers[:ROWS]],
        "drives": [
            {
                "name": name,
                "sentence": str(comparison),
                "n_steps": comparison.n_steps,
                "numbers": list(comparison.numbers),
                **dataclasses.asdict(comparison.profile),
            }
            for name, comparison in report.drives.items()
            if comparison.profile.starts
        ],
        "functions": _functions(report),
        "history": _plain(report.history),
        **_precisions(report),
        "hazards": [hazard_words(hazard) for hazard in report.hazards],
        "notes": list(report.notes),
        "provenance": {
            side: list(_rows(data))
            for side, data in zip(
                ("PyTorch's run", "the port", "recipe"), dataclasses.asdict(report.provenance).values(), strict=True
            )
        },
    }


def _layer(layer: Layer) -> dict[str, Any]:
    """A row of the table of layers: distances over what rounding explains; empty where nothing was compared."""
    shown = {"input": layer.given, "output": layer.forward, "gradient of the output": layer.backward}
    return {
        "layer": layer.name,
        "kind": layer.kind,
        "in the port": layer.counterpart or f"none: {layer.reason}",
        **{
            name: "" if apart is None else f"{apart.distance:.1e}" + ("" if apart.same else " differs")
            for name, apart in shown.items()
        },
    }


def _functions(report: Report) -> dict[str, Any]:
    """What was evaluated in float64: a row for each quantity, in causal order, a cell for each step."""
    findings: list[FunctionFinding | RuleFinding] = [*report.functions, *report.rules]
    steps = sorted({finding.step for finding in findings})[:COLUMNS]
    if report.difference is not None and report.difference.step not in steps:
        steps += [report.difference.step] * any(f.step == report.difference.step for f in findings)
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    off: dict[tuple[str, str], float] = {}
    for f in findings:
        key = (f.phase, f.name)
        off[key] = max(off.get(key, 0.0), f.distance / f.limit if f.limit else f.distance)
        if f.step in steps:
            cell = {"step": f.step, "distance": f.distance, "limit": f.limit, "same": f.same}
            rows.setdefault(key, []).append(cell)
    shown = set(sorted(rows, key=lambda key: -off[key])[:ROWS])
    phases = list(dict.fromkeys(phase for phase, _ in rows))
    ordered = sorted((key for key in rows if key in shown), key=lambda key: phases.index(key[0]))
    kept = [{"phase": key[0], "name": key[1], "cells": rows[key]} for key in ordered]
    return {"steps": steps, "rows": kept, "left_out": len(off) - len(kept)}


def _precisions(report: Report) -> dict[str, Any]:
    worst = sorted(report.precisions, key=lambda p: -p.factor)[:ROWS]
    rows = [_plain(p) for p in report.precisions if p in worst]
    return {"precisions": rows, "precisions_left_out": len(report.precisions) - len(rows)}


def _plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def _rows(data: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested data as pairs of a name and a text."""
    for key, value in data.items():
        name = f"{prefix} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            yield from _rows(value, name)
        elif isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
            for index, each in enumerate(value[:ROWS]):
                text = ", ".join(f"{k}={v}" for k, v in each.items()) if isinstance(each, Mapping) else str(each)
                yield f"{name} {index}", text
        elif isinstance(value, list | tuple):
            yield name, ", ".join(map(str, value)) or "none"
        else:
            yield name, "none" if value in (None, "") else str(value)
