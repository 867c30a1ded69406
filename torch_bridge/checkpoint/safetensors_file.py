"""Trees in safetensors files: every tensor under its name, what is no tensor in the metadata."""

import json
import os
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import xxhash

from torch_bridge.checkpoint.outline import flattened, rebuilt
from torch_bridge.checkpoint.replacement import opened, replacing

_DTYPES = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16, "U32": np.uint32,
    "I32": np.int32, "U64": np.uint64, "I64": np.int64, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
    "F32": np.float32, "F64": np.float64, "C64": np.complex64,
}  # fmt: skip
"""The format's dtypes that its reader makes arrays of."""


def write_safetensors(path: str | os.PathLike[str], tree: Any, *, force: bool = False) -> None:
    """Write a tree to a safetensors file, which any reader of that format can open.

    Args:
        path: of the file; it appears whole or not at all.
        tree: dicts, lists, tuples and states with arrays, numbers, strings and None.
        force: replace a file of that name.

    Raises:
        ImportError: safetensors is not installed.
        FileExistsError: there is a file of that name.
        TypeError: an array has a dtype that the format lacks, or the tree holds something else.

    Exactness: bitwise.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/model.safetensors"
        >>> write_safetensors(path, {"layer": {"w": np.ones(2)}, "sizes": (1, 2)})
        >>> read_safetensors(path)
        {'layer': {'w': array([1., 1.])}, 'sizes': (1, 2)}
    """
    library = _safetensors()
    given, outline = flattened(tree)
    arrays = {name: np.ascontiguousarray(value).reshape(np.shape(value)) for name, value in given.items()}
    for name, array in arrays.items():
        if array.dtype.newbyteorder("=").type not in _DTYPES.values():
            raise TypeError(f"{name} is {array.dtype}, which safetensors files cannot hold: use an orbax folder or .pt")
    # The first two say to other readers what the third says to this one.
    metadata = {"format": "pt", "digest": _digest(arrays), "outline": json.dumps(outline, allow_nan=False)}
    with replacing(path, force=force) as other:
        library.numpy.save_file(arrays, other, metadata)


def read_safetensors(path: str | os.PathLike[str]) -> Any:
    """Read a safetensors file as a tree with NumPy arrays; one of another program is a flat dict.

    Raises:
        ImportError: safetensors is not installed.
        ValueError: the file is damaged or is none, or has a dtype that NumPy lacks.
        OSError: it cannot be read.

    Exactness: bitwise; the file's digest is checked if `write_safetensors` wrote it.
    """
    library = _safetensors()
    with opened(path):
        try:
            # It compares all sizes with the file's before it reads a tensor.
            with library.safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
                names = file.keys()
                arrays = {name: _array(file, name) for name in names}
            if "outline" not in metadata:
                return arrays
            if metadata.get("digest") != _digest(arrays):
                raise ValueError("its tensors do not match their digest")
            return rebuilt(arrays, json.loads(metadata["outline"]))
        except (ValueError, RecursionError, library.SafetensorError) as error:
            raise ValueError(
                f"{path} is damaged or is no safetensors file ({error}): take an earlier one, or copy it anew"
            ) from error


def _array(file: Any, name: str) -> Any:
    dtype = file.get_slice(name).get_dtype()
    if dtype not in _DTYPES:
        raise ValueError(f"{name!r} has the dtype {dtype}, which no array here has")
    return file.get_tensor(name)


def _digest(arrays: Mapping[str, Any]) -> str:
    digest = xxhash.xxh3_128()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}\0{array.dtype.name}{array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("safetensors files need a package: pip install 'funcsgd[checkpoint]'") from error
    return safetensors
