"""A report as a JSON file."""

import json
import math
import os
from typing import Any

from torch_bridge.files import write_whole


def write_json(data: Any, path: str | os.PathLike[str]) -> None:
    """Write plain data as JSON; the file appears whole or not at all.

    Infinities and NaN, which JSON lacks, become the strings ``"inf"``, ``"-inf"`` and ``"nan"``.
    """
    write_whole(path, (json.dumps(plain(data), indent=2, allow_nan=False) + "\n").encode())


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
