"""The formats of checkpoints, told apart by the names of files and folders."""

import os
from pathlib import Path
from typing import Any

from torch_bridge.checkpoint.orbax_folder import read_orbax, write_orbax
from torch_bridge.checkpoint.safetensors_file import read_safetensors, write_safetensors
from torch_bridge.checkpoint.torch_file import read_torch, save_torch

_TORCH = (".pt", ".pth", ".ckpt", ".bin", ".tar")
_ONLY = "content"
"""The name in an orbax folder of a tree that is not a run's."""


def read(path: str | os.PathLike[str]) -> Any:
    """Return any checkpoint as a plain tree, with NumPy's arrays.

    Args:
        path: an orbax folder, a ``.safetensors`` file, or a file of torch's under any other name.

    Raises:
        ImportError: what reads the format is not installed.
        ValueError: it is damaged, or of another format.
        OSError: it cannot be read.

    Exactness: bitwise.
    """
    if Path(path).is_dir():
        tree = read_orbax(path)
        return tree[_ONLY] if set(tree) == {_ONLY} else tree
    return read_safetensors(path) if Path(path).suffix == ".safetensors" else read_torch(path)


def write(path: str | os.PathLike[str], tree: Any, *, force: bool = False) -> None:
    """Write a tree in the format of a name: ``.pt``, ``.safetensors``, or without a suffix an orbax folder.

    Args:
        path: of the file or folder; it appears whole or not at all.
        tree: dicts, lists, tuples and states with arrays, numbers, strings and None.
        force: replace what is there.

    Raises:
        ImportError: what writes the format is not installed.
        ValueError: the name is of no format.
        FileExistsError: something is there.
        TypeError: the format cannot hold what is in the tree.

    Exactness: bitwise.

    Example:
        >>> import tempfile, numpy as np
        >>> folder = tempfile.mkdtemp()
        >>> write(f"{folder}/model.safetensors", {"w": np.arange(3)})
        >>> write(f"{folder}/model", read(f"{folder}/model.safetensors"))
        >>> read(f"{folder}/model")
        {'w': array([0, 1, 2])}
    """
    suffix = Path(path).suffix
    if suffix == ".safetensors":
        write_safetensors(path, tree, force=force)
    elif suffix in _TORCH:
        save_torch(path, tree, force=force)
    elif not suffix or suffix[1:].isdigit():
        write_orbax(path, {_ONLY: tree}, force=force)
    else:
        raise ValueError(
            f"{path} has the suffix of no format here: give a .pt or .safetensors file, or a folder's name"
        )
