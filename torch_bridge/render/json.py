"""A report as a JSON file."""

import json
import math
import os
import re
from typing import Any

from torch_bridge.files import write_whole

_NUMBER = r"(?:-?[\d.]+(?:[eE][-+]?\d+)?|null|\"-?inf\"|\"nan\")"
_NUMBERS = re.compile(rf"\[\n\s+{_NUMBER}(?:,\n\s+{_NUMBER})*\n\s+\]")


def write_json(data: Any, path: str | os.PathLike[str]) -> None:
    """Write plain data as JSON; the file appears whole or not at all.

    Infinities and NaN, which JSON lacks, become the strings ``"inf"``, ``"-inf"`` and ``"nan"``.
    """
    write_whole(path, (text(data) + "\n").encode())


def text(data: Any) -> str:
    """Return plain data as indented JSON, lists of numbers on one line."""
    indented = json.dumps(plain(data), indent=2, allow_nan=False)
    return _NUMBERS.sub(lambda match: f"[{' '.join(match[0][1:-1].split())}]", indented)


def plain(data: Any) -> Any:
    """Return plain data in which every number is one that JSON knows, see `write_json`."""
    if isinstance(data, dict):
        return {str(key): plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [plain(value) for value in data]
    if isinstance(data, complex):
        return [plain(data.real), plain(data.imag)]
    if isinstance(data, float) and not math.isfinite(data):
        return str(data)
    return data
