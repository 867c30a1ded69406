"""The script of a first difference, run in this process."""

import contextlib
import io
import re
import runpy
import tempfile
from pathlib import Path
from typing import Any

from torch_bridge.judge.report import Report

_PORT: dict[str, Any] = {}


def port() -> dict[str, Any]:
    """The port that is being shown."""
    return _PORT


def shows(report: Report, arguments: dict[str, Any]) -> bool:
    """True if the script runs, ends with status 1, and prints two different numbers, batches or errors."""
    parts = ("tx", "loss_fn", "weights", "buffers", "step", "state", "order")
    _PORT.clear()
    _PORT.update({name: arguments[name] for name in parts if arguments.get(name) is not None})
    with tempfile.TemporaryDirectory() as folder:
        script, _ = report.reproduce(Path(folder) / "shown.py", port=f"{__name__}:port")
        out, status = io.StringIO(), 0
        try:
            with contextlib.redirect_stdout(out):
                runpy.run_path(str(script), run_name="__main__")
        except SystemExit as left:
            status = int(left.code or 0)
    torch, jax = (re.search(rf"^{side} +(.*)$", out.getvalue(), re.MULTILINE) for side in ("torch", "JAX"))
    return status == 1 and torch is not None and jax is not None and torch[1] != jax[1]
