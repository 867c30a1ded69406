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
    write_whole(path, (json.dumps(_plain(data), indent=2, allow_nan=False) + "\n").encode())


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    if isinstance(data, complex):
        return [_plain(data.real), _plain(data.imag)]
    if isinstance(data, float) and not math.isfinite(data):
        return str(data)
    return data
