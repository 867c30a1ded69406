"""A script of a few lines that shows a report's first difference alone, beside the arrays that it needs."""

import os
import sys
from pathlib import Path
from typing import Any

from torch_bridge.files import write_whole
from torch_bridge.judge.report import Report
from torch_bridge.judge.reproduction import saved_step
from torch_bridge.trace.phases import FUNCTION

PARTS = {
    "tx": "the update rule, an optax transformation",
    "loss_fn": "the loss function, loss_fn(params, batch)",
    "step": "the step function, step(state, batch)",
    "state": "the first state of the step function",
    "weights": "the places of torch's parameters, see torch_bridge.map_weights",
    "buffers": "how the model state lies to torch's buffers, see torch_bridge.check",
}
"""The parts of a port that a script may need."""


def write_reproduction(
    report: Report,
    path: str | os.PathLike[str],
    *,
    port: str | None = None,
    trace: str | os.PathLike[str] | None = None,
) -> tuple[Path, Path]:
    """Write the script, and beside it the arrays; see `Report.reproduce`."""
    script = Path(path)
    if script.suffix != ".py":
        raise ValueError(f"{script} is to be a Python script: give a name that ends in .py")
    arrays = script.with_suffix(".npz")
    saved = saved_step(report)
    saved.save(arrays)
    needed = _needed(report, saved.phase)
    source = _of_port(port, trace) if port is not None else _of_parts(needed)
    given = "**port" if port is not None else ", ".join(f"{name}={name}" for name in needed)
    given = f", {given}" if given else ""
    write_whole(
        script,
        f'''"""The first difference of a JAX port from PyTorch, alone.

{_quoted(str(report))}

It prints both numbers, and its exit status is 1 while they differ. It needs no torch.
"""

import sys
from pathlib import Path

from torch_bridge.judge.reproduction import show
{source}
sys.exit(show(Path(__file__).with_suffix(".npz"){given}))
'''.encode(),
    )
    return script, arrays


def _needed(report: Report, phase: str) -> dict[str, Any]:
    """The parts of the port that the difference depends on."""
    origin = report.origin
    assert origin is not None  # its step was saved
    if phase == "data":
        return {}
    parts: dict[str, Any] = {}
    if origin.step is not None:
        parts |= {"step": origin.step, "state": origin.state}
    elif phase.removeprefix("precision/") in FUNCTION:
        parts["loss_fn"] = origin.loss_fn
    else:
        parts["tx"] = origin.tx
    parts |= {"weights": origin.given_weights, "buffers": origin.buffers}
    return {name: part for name, part in parts.items() if part is not None}


def _of_port(port: str, trace: str | os.PathLike[str] | None) -> str:
    """Source that loads a port as the command line does."""
    where, colon, function = port.partition(":")
    name = f"{Path(where).resolve()}{colon}{function}" if where.endswith(".py") else port
    recorded = "None" if trace is None else f"Trace.load({str(Path(trace).resolve())!r})"
    lines = ["from torch_bridge.cli.port_file import load_port"]
    lines += ["from torch_bridge.trace.trace import Trace"] if trace is not None else []
    return "\n".join([*lines, "", f"port = load_port({name!r}, {recorded})"])


def _of_parts(parts: dict[str, Any]) -> str:
    """Source that imports the parts of a port from where they are, or has a place to fill in for each."""
    imports, places = [], []
    for name, value in parts.items():
        found = _import_of(value)
        if found is None:
            places.append(
                f"\n\ndef make_{name}():\n"
                f'    """Return {PARTS[name]}."""\n'
                f'    raise NotImplementedError("fill in make_{name}() in this script: return {PARTS[name]}")\n\n\n'
                f"{name} = make_{name}()"
            )
        else:
            imports.append(f"from {found[0]} import {found[1]}" + (f" as {name}" if found[1] != name else ""))
    return "\n".join([*imports, *places])


def _import_of(value: Any) -> tuple[str, str] | None:
    """The module and the name under which a value is found when that module is imported."""
    for module_name, module in list(sys.modules.items()):
        if module_name in ("__main__", "builtins") or not hasattr(module, "__dict__"):
            continue
        for name, held in list(vars(module).items()):
            if held is value and name.isidentifier() and not name.startswith("__"):
                return module_name, name
    return None


def _quoted(text: str) -> str:
    """The text as it can stand in a docstring, whatever names are in it."""
    return "".join(c if c.isprintable() and c not in '"\\' else "?" for c in text)
