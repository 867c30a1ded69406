"""A JAX port from a Python file or a module, for the commands that need one."""

import importlib
import importlib.util
import inspect
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

PortName = Annotated[
    str,
    typer.Argument(
        help="A Python file, or module:function. The function (in a file it is called port) takes the trace, or "
        "nothing, and returns a dict of keywords for torch_bridge.check: tx, loss_fn, data, weights, ..."
    ),
]


def load_port(name: str, trace: Any) -> dict[str, Any]:
    """Return the keywords for `torch_bridge.check` that a port gives.

    Args:
        name: ``"port.py"``, ``"port.py:function"`` or ``"package.module:function"``.
        trace: what the function is called with, if it takes an argument: a trace, or a checkpoint.

    Raises:
        ValueError: there is no such file, module or function, or it returns something else.
    """
    return _port_of(name, _function(name), trace)


def _port_of(name: str, function: Callable[..., Any], trace: Any) -> dict[str, Any]:
    made = _call(function, trace)
    if not isinstance(made, dict) or not all(isinstance(key, str) for key in made):
        raise ValueError(
            f"{name} returned a {type(made).__name__}: a port is a dict of keywords for torch_bridge.check, such as "
            "{'tx': tx, 'loss_fn': loss_fn, 'data': (x, y)}"
        )
    return made


def port_path(name: str) -> Path | None:
    """Return the file of a port that is given as one; None for a module's."""
    where = name.partition(":")[0]
    return Path(where) if where.endswith(".py") else None


def load_text(name: str, text: str, trace: Any) -> dict[str, Any]:
    """Return what a port's file would give with another text; the file stays as it is.

    Raises:
        ValueError: as `load_port`.
    """
    where, _, attribute = name.partition(":")
    module = types.ModuleType(Path(where).stem)
    module.__file__ = where
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module  # as some libraries look up the module of a class
    try:
        exec(compile(text, where, "exec"), module.__dict__)
        return _port_of(name, getattr(module, attribute or "port"), trace)
    finally:
        if before is not None:
            sys.modules[module.__name__] = before


def _function(name: str) -> Callable[..., Any]:
    where, _, attribute = name.partition(":")
    module = _file(Path(where)) if where.endswith(".py") else _module(where)
    function = getattr(module, attribute or "port", None)
    if not callable(function):
        raise ValueError(
            f"{where} has no function {attribute or 'port'!r}: define one that returns the port, or name it, "
            f"{where}:function"
        )
    found: Callable[..., Any] = function
    return found


def _file(path: Path) -> Any:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # of a .py file there is one
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))  # what it imports may lie beside it
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _module(name: str) -> Any:
    sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ValueError(f"there is no module {name}: give a file, port.py, or module:function") from error


def _call(function: Callable[..., Any], trace: Any) -> Any:
    return function(trace) if inspect.signature(function).parameters else function()
