"""Reports for the renderings: real ones, and one in which every text that comes from a trace is hostile."""

import dataclasses
import functools

import numpy as np

import funcsgd
import torch_bridge
from tests.support.small_run import DATA, loss_fn, recorded
from torch_bridge.judge.causes.edit import FileEdit
from torch_bridge.judge.differences import Quantity
from torch_bridge.judge.profile import profile_of
from torch_bridge.judge.report import Report

EVIL = (
    "</script><script>document.title='ran'</script><img src=http://evil.example/x onerror=alert(1)>&amp;\x00\u2028'\""
)


@functools.cache
def trace():
    return recorded()


@functools.cache
def report_of(*, decay: float = 1e-2, factor: float = 1.0) -> Report:
    """The report of a port whose weight decay and loss may be off."""
    tx = funcsgd.sgd(0.1, momentum=0.9, weight_decay=decay)
    return torch_bridge.check(trace(), tx, loss_fn=loss_fn if factor == 1 else _scaled(factor), data=DATA)


def with_edit(report: Report) -> Report:
    """The report with a change of the port's file for each cause."""
    edit = FileEdit("port.py", 12, "tx = rule(decay=2e-2)\n", "tx = rule(decay=1e-2)\n")
    return dataclasses.replace(report, causes=tuple(dataclasses.replace(c, edits=(edit,)) for c in report.causes))


def _scaled(factor):
    return lambda params, batch: factor * loss_fn(params, batch)


def hostile(report: Report) -> Report:
    """The report with the name of every parameter, each note and each version replaced by an attack on the page."""

    def attacked(value):
        if isinstance(value, tuple):
            return tuple(map(attacked, value))
        if isinstance(value, dict):
            return {key: attacked(each) for key, each in value.items()}
        if dataclasses.is_dataclass(value):
            names = {field.name for field in dataclasses.fields(value)}
            changes = {key: attacked(getattr(value, key)) for key in names - {"runs", "phase"}}
            changes |= {"name": EVIL} if getattr(value, "name", None) else {}
            changes |= {"path": EVIL, "old": EVIL, "new": EVIL} if isinstance(value, FileEdit) else {}
            return dataclasses.replace(value, **changes)
        return value

    evil = {"versions": {EVIL: EVIL}}
    provenance = dataclasses.replace(report.provenance, torch=evil, recipe={"optimizer": EVIL})
    return dataclasses.replace(attacked(report), notes=(EVIL,), provenance=provenance)


def long_report(report: Report, n_steps: int, n_names: int) -> Report:
    """The report with the profile of a run of so many steps and parameters."""
    row = 10 ** np.random.default_rng(0).uniform(-9, -3, n_steps)
    quantities = []
    for phase in ("gradient", "parameter"):
        for i in range(n_names):
            key, steps = f"{phase}/layers.{i}.weight", np.arange(n_steps)
            quantities.append(Quantity(key, n_steps, n_steps, steps, None, None, row * (i + 1), np.ones(n_steps)))
    drives = {
        name: dataclasses.replace(comparison, n_steps=n_steps, profile=profile_of(quantities))
        for name, comparison in report.drives.items()
    }
    return dataclasses.replace(report, n_steps=n_steps, drives=drives)
