"""torch's ``.pt`` files as plain trees, read without executing anything in them."""

import os
import re
import warnings
import zipfile
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_bridge.checkpoint.outline import is_array
from torch_bridge.checkpoint.replacement import opened, replacing
from torch_bridge.translate.tensors import to_numpy, to_tensor

if TYPE_CHECKING:
    import torch

_SLACK = 2**26
"""Bytes that tensors may take beyond a few times the file's: overlapping views and expanded tensors are written out."""


def read_torch(path: str | os.PathLike[str]) -> Any:
    """Read a ``.pt`` file: dicts, lists, tuples, numbers and strings as they are, tensors as NumPy arrays.

    It is read by ``torch.load(weights_only=True)``, never otherwise, and its checksums are checked before.

    Args:
        path: a file of ``torch.save``, in the format that it has had since torch 1.6.

    Returns:
        The tree. Tensors that are one in the file (tied weights) are one array.

    Raises:
        ImportError: torch is not installed.
        ValueError: the file is damaged, holds more than tensors, dicts, lists, numbers and strings, or is no such file;
            the message names the remedy.
        OSError: it cannot be read.

    Exactness: bitwise.

    Source: ``torch/serialization.py``, torch 2.13.0.

    Differs from ``torch.load`` in: (1) arrays; (2) the older format, programs and checksums that do not match are
    refused; (3) no more memory is taken than a few times the file's size.

    Example:
        >>> import tempfile, torch
        >>> path = tempfile.mkdtemp() + "/model.pt"
        >>> torch.save({"model": {"w": torch.ones(2)}, "epoch": 3}, path)
        >>> read_torch(path)
        {'model': {'w': array([1., 1.], dtype=float32)}, 'epoch': 3}
    """
    torch = _torch("reading")
    with opened(path):
        _check_zip(path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what a damaged file leads to is an error below, or nothing
                # Mapped, storages cannot grow beyond the file, whatever sizes it declares.
                found = torch.load(os.fspath(path), map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # whatever torch meets in a damaged file
            raise ValueError(_reason(path, error)) from error
    return _Plain(path, os.path.getsize(path)).tree(found)


def save_torch(path: str | os.PathLike[str], tree: Any, *, force: bool = False) -> None:
    """Write a tree, such as the content of a `Checkpoint` or a `torch_bridge.TorchState`, for ``torch.load``.

    Args:
        path: of the file; it appears whole or not at all.
        tree: dicts, lists and tuples with arrays of NumPy's or JAX's, which become tensors, and torch's tensors,
            numbers, strings and None, which stay as they are. A named tuple becomes a dict.
        force: replace a file of that name.

    Raises:
        ImportError: torch is not installed.
        FileExistsError: there is a file of that name.
        TypeError: an array's dtype is unknown to torch, or there is something else in the tree.

    Exactness: bitwise.

    Example:
        >>> import tempfile, torch, numpy as np
        >>> path = tempfile.mkdtemp() + "/model.pt"
        >>> save_torch(path, {"model": {"w": np.ones(2, np.float32)}, "epoch": 3})
        >>> torch.load(path, weights_only=True)
        {'model': {'w': tensor([1., 1.])}, 'epoch': 3}
    """
    torch = _torch("writing")
    made = _tensors(tree, {})
    with replacing(path, force=force) as other:
        torch.save(made, other)


def _torch(doing: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{doing} a .pt file needs torch, which is not installed: where it is, torch-bridge convert moves the file "
            "to .safetensors and back"
        ) from error
    return torch


def _check_zip(path: str | os.PathLike[str]) -> None:
    """Refuse what is no whole archive of torch.save."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            stored = all(entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1 for entry in entries)
            fits = sum(entry.file_size for entry in entries) <= os.path.getsize(path)
            bad = archive.testzip() if stored and fits else None  # which would unpack a gigabyte of zeros
    except Exception as error:  # BadZipFile, and what a damaged archive leads zipfile to
        raise ValueError(_no_zip(path, error)) from error
    names = {entry.filename.partition("/")[2] for entry in entries}
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        raise ValueError(
            f"{path} is a TorchScript archive, which holds a program: in torch, "
            "torch.save(torch.jit.load(path).state_dict(), other)"
        )
    if "data.pkl" not in names:
        raise ValueError(f"{path} is a zip archive, but not of torch.save: it has no data.pkl")
    if not stored:
        raise ValueError(f"{path} has compressed or encrypted entries, which torch.save never writes")
    if len(names) < len(entries) or not fits:
        raise ValueError(f"{path} is damaged: entries of the archive overlap, or one is there twice")
    if bad is not None:
        raise ValueError(
            f"{path} is damaged: {bad} does not match its checksum; if the script has switched checksums off "
            "(torch.serialization.set_crc32_options), save it anew with them"
        )


def _no_zip(path: str | os.PathLike[str], error: Exception) -> str:
    with open(path, "rb") as file:
        start = file.read(2)
    if start == b"PK":
        return f"{path} is damaged or was cut off ({error}): take an earlier checkpoint, or copy it anew"
    if start[:1] == b"\x80":
        return (
            f"{path} is a pickle, or has torch's format before 1.6: if it is torch's, and you trust it, write it anew "
            "in torch, torch.save(torch.load(path, weights_only=True), other)"
        )
    return f"{path} is not a file of torch.save ({error})"


def _reason(path: str | os.PathLike[str], error: Exception) -> str:
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named is None:
        said = " ".join(str(error).split())
        return f"{path} is damaged: it cannot be read as tensors alone ({type(error).__name__}: {said:.200})"
    remedy = "save state dicts, numbers and strings alone"
    if named[1].startswith("torch.nn.") or named[1].startswith("__main__."):
        remedy = "save model.state_dict() in place of the model"
    return (
        f"{path} holds an object of {named[1]}, to load which would run code of the file's choice: it is not loaded; "
        f"in the script that wrote it, {remedy}"
    )


class _Plain:
    """Turns what torch.load gives into a plain tree, and refuses what would take more memory than the file explains."""

    def __init__(self, path: str | os.PathLike[str], size: int) -> None:
        self._path = path
        self._nodes, self._bytes = size + 1000, 4 * size + _SLACK
        self._arrays: dict[Any, np.ndarray[Any, Any]] = {}

    def tree(self, node: Any, place: str = "", depth: int = 0) -> Any:
        import torch

        self._nodes -= 1
        if self._nodes < 0 or depth > 100:
            raise ValueError(f"{self._path} is damaged: its dicts and lists contain themselves or each other")
        if isinstance(node, torch.Tensor):
            return self._array(node, place)
        if isinstance(node, dict):
            made = {
                self._key(key, place): self.tree(each, f"{place}/{key}"[:200], depth + 1) for key, each in node.items()
            }
            return Counter(made) if isinstance(node, Counter) else made  # a MultiStepLR's milestones
        if isinstance(node, list | tuple):
            items = [self.tree(each, f"{place}/{i}"[:200], depth + 1) for i, each in enumerate(node)]
            return tuple(items) if isinstance(node, tuple) else items
        if node is None or isinstance(node, bool | int | float | str):
            return node
        raise ValueError(
            f"{self._path} holds a {type(node).__module__}.{type(node).__qualname__} at {place or 'its top'}: only "
            "dicts, lists, tuples, tensors, numbers and strings can be moved"
        )

    def _key(self, key: Any, place: str) -> Any:
        if key is None or isinstance(key, bool | int | float | str):
            return key
        raise ValueError(f"{self._path} has a dict at {place or 'its top'} with a key that is a {type(key).__name__}")

    def _array(self, tensor: "torch.Tensor", place: str) -> Any:
        import torch

        place = place or "its top"
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_nested:
            raise ValueError(
                f"{self._path} holds a tensor at {place} that is sparse, quantized, nested or without values: save it "
                "dense, tensor.to_dense() or tensor.dequantize()"
            )
        known = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()) if tensor.numel() else object()
        if known not in self._arrays:
            self._bytes -= tensor.numel() * tensor.element_size()
            if self._bytes < 0:
                raise ValueError(
                    f"{self._path} declares tensors of far more bytes than it has, at {place} {tuple(tensor.shape)}: "
                    "it is damaged, or holds an expanded tensor, to be saved as tensor.clone()"
                )
            try:
                self._arrays[known] = to_numpy(tensor)
            except (TypeError, RuntimeError) as error:
                raise ValueError(f"{self._path} holds a {tensor.dtype} at {place}, which NumPy lacks") from error
        return self._arrays[known]


def _tensors(node: Any, known: dict[int, Any]) -> Any:
    if is_array(node):
        if id(node) not in known:
            known[id(node)] = (node, to_tensor(node))  # the node too, so that no other gets its identity
        return known[id(node)][1]
    if isinstance(node, dict):
        made = {key: _tensors(each, known) for key, each in node.items()}
        return Counter(made) if isinstance(node, Counter) else made
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return {key: _tensors(each, known) for key, each in zip(node._fields, node, strict=True)}
    if isinstance(node, list | tuple):
        return type(node)(_tensors(each, known) for each in node)
    if node is None or isinstance(node, bool | int | float | str) or hasattr(node, "detach"):
        return node
    raise TypeError(
        f"a {type(node).__module__}.{type(node).__qualname__} cannot be written for torch.load(weights_only=True): "
        "only dicts, lists, tuples, arrays, tensors, numbers and strings can"
    )
