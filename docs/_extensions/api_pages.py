"""The API reference: one page a public symbol, and one a package that lists its symbols."""

import importlib
import importlib.util
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

import funcsgd
import torch_bridge

ORDER = (
    "funcsgd",
    "funcsgd.stages",
    "funcsgd.optimizers",
    "funcsgd.schedules",
    "funcsgd.averages",
    "funcsgd.curvature",
    "funcsgd.training",
    "funcsgd.noisy_quadratic",
    "funcsgd.arithmetic",
    "funcsgd.verification",
    "funcsgd.manifest",
    "torch_bridge",
    "torch_bridge.random",
    "torch_bridge.random.traced",
    "torch_bridge.data",
    "torch_bridge.data.traced",
    "torch_bridge.init",
    "torch_bridge.init.flax_nnx",
    "torch_bridge.checkpoint",
    "torch_bridge.translate.optimizers",
)
"""Public packages and modules, in the order of the reference; others that have an ``__all__`` come behind them.
A name that two of them export has its page in the first."""


def packages() -> list[str]:
    """Return the names of all public packages and modules."""
    found = []
    for package in (funcsgd, torch_bridge):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            spec = importlib.util.find_spec(module.name)
            if spec and spec.origin and "\n__all__ = " in Path(spec.origin).read_text():
                found.append(module.name)
    return [*ORDER, *(name for name in found if name not in ORDER)]


ORPHAN = ["---", "orphan: true", "---", ""]
"""Pages of symbols are reached from their package, by links, and not from the sidebar, which would list them all."""


def public_names(package: ModuleType) -> list[str]:
    """Return ``__all__``; without one, the names that are meant for others: defined or re-exported here, not private.

    A re-export is written ``import name as name``, so a module's own imports are told apart by where they come from:
    what a module without ``__all__`` imports from another package of the library counts only in an ``__init__``.
    """
    if hasattr(package, "__all__"):
        return sorted(package.__all__, key=str.lower)
    is_package = hasattr(package, "__path__")
    names = []
    for name, value in vars(package).items():
        home = getattr(value, "__module__", None)
        own = home == package.__name__ or (is_package and str(home).startswith(package.__name__ + "."))
        data = name.isupper() and not callable(value) and package.__name__ == "funcsgd.manifest"
        if not name.startswith("_") and (own or data):
            names.append(name)
    return sorted(names, key=str.lower)


def symbols() -> dict[str, list[tuple[str, str]]]:
    """Return, for each package, its public names and the page of each: ``"funcsgd.sgd"`` is ``api/funcsgd.sgd``."""
    pages: dict[int, str] = {}
    found: dict[str, list[tuple[str, str]]] = {}
    for name in packages():
        package = importlib.import_module(name)
        found[name] = []
        for symbol in public_names(package):
            value = getattr(package, symbol)
            if inspect.ismodule(value):
                continue  # has a page of its own, as a package
            page = f"{name}.{symbol}"
            if _has_identity(value):
                page = pages.setdefault(id(value), page)
            found[name].append((symbol, page))
    return found


def _has_identity(value: Any) -> bool:
    """Numbers and strings may be one object by chance; functions and classes are one by design."""
    return callable(value)


def pages() -> dict[str, str]:
    """Return the text of every page by its name, ``"index"`` included."""
    found = symbols()
    texts = {"index": _index()}
    for package, names in found.items():
        texts[package] = _package_page(package, names)
        for symbol, page in names:
            if page == f"{package}.{symbol}":
                texts[page] = _symbol_page(package, symbol)
    return texts


def write(folder: Path) -> None:
    """Write the pages that changed and remove those that are not public any more."""
    folder.mkdir(exist_ok=True)
    texts = {f"{name}.md": text for name, text in pages().items()}
    for old in folder.glob("*.md"):
        if old.name not in texts:
            old.unlink()
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _index() -> str:
    rows = [f"- [`{name}`]({name}.md): {_first_sentence(importlib.import_module(name))}" for name in packages()]
    return "\n".join(["# API reference", "", *rows, "", _toctree(packages())])


def _package_page(package: str, names: list[tuple[str, str]]) -> str:
    module = importlib.import_module(package)
    rows = [f"- [`{symbol}`]({page}.md): {_first_sentence(getattr(module, symbol))}" for symbol, page in names]
    about = ["```{eval-rst}", f".. automodule:: {package}", "   :no-members:", "```"]
    text = [f"# {package}", "", *about, "", *rows, ""]
    return "\n".join(text)


def _symbol_page(package: str, symbol: str) -> str:
    value = getattr(importlib.import_module(package), symbol)
    if inspect.isclass(value):
        directive, options = "autoclass", [":members:", ":inherited-members: tuple, Exception, object"]
    elif inspect.isfunction(value):
        directive, options = "autofunction", []
    else:
        directive, options = "py:data", ["", _first_sentence(value).capitalize()]
    lines = ["```{eval-rst}", f".. {directive}:: {package}.{symbol}", *(f"   {option}".rstrip() for option in options)]
    return "\n".join([*ORPHAN, f"# {symbol}", "", f"In [`{package}`]({package}.md).", "", *lines, "```", ""])


def _first_sentence(value: Any) -> str:
    """The docstring's first paragraph; for a value that is no function, class or module, what it is."""
    if not (callable(value) or inspect.ismodule(value)):
        return f"a {type(value).__name__}."
    text = (inspect.getdoc(value) or "").split("\n\n")[0]
    return " ".join(text.split()).replace("``", "`").replace("$", r"\$").removesuffix(":")


def _toctree(names: Any) -> str:
    return "\n".join(["```{toctree}", ":hidden:", "", *names, "```", ""])
