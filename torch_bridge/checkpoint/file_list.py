"""The list of a folder's files with their digests, by which a torn or damaged one is known before anything reads it."""

import json
from pathlib import Path
from typing import Any

import xxhash

NAME = "files.json"


def write_file_list(folder: Path) -> None:
    """List all files of a folder in it."""
    (folder / NAME).write_text(json.dumps(_listed(folder), indent=1))


def check_files(folder: Path) -> None:
    """Compare a folder with its list; one without a list, as several processes write it, passes.

    Raises:
        ValueError: a file is missing, is there too much, or has another size or other bytes.
    """
    if not (folder / NAME).exists():
        return
    try:
        wanted = dict(json.loads((folder / NAME).read_text()))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{folder / NAME} is damaged: {error}") from error
    found = _listed(folder)
    for name in [*wanted, *(name for name in found if name not in wanted)]:
        if name not in found or name not in wanted:
            raise ValueError(f"{name} is {'missing' if name in wanted else 'not of this checkpoint'}")
        if found[name] != wanted[name]:
            raise ValueError(f"{name} has other bytes than were written")


def _listed(folder: Path) -> dict[str, Any]:
    listed: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / NAME:
            digest = xxhash.xxh3_128()
            with path.open("rb") as file:
                while block := file.read(2**22):
                    digest.update(block)
            listed[path.relative_to(folder).as_posix()] = [path.stat().st_size, digest.hexdigest()]
    return listed
