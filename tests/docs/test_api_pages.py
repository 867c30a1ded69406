"""Every public symbol has a page of its own in the API reference."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import funcsgd
import torch_bridge
from tests.support.docs_pages import DOCS, extension

api_pages = extension("api_pages")


def modules_with_public_names():
    """All modules of both packages that say by ``__all__`` what is public."""
    for package in (funcsgd, torch_bridge):
        yield package.__name__
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.rpartition(".")[2].startswith("_") or module.name.startswith("torch_bridge.demo"):
                continue
            spec = importlib.util.find_spec(module.name)
            if "\n__all__ = " in Path(spec.origin).read_text():
                yield module.name


def missing(pages):
    """The names in an ``__all__`` without a page that documents them and a link to it in their package's page."""
    lacking = []
    for name in modules_with_public_names():
        module = importlib.import_module(name)
        linked = dict(re.findall(r"^- \[`(\w+)`\]\(([\w.]+)\.md\)", pages.get(name, ""), re.M))
        for symbol in module.__all__:
            if inspect.ismodule(getattr(module, symbol)):
                if f"{name}.{symbol}" not in pages:
                    lacking.append(f"{name}.{symbol}")
            elif linked.get(symbol) not in pages or f":: {linked[symbol]}" not in pages[linked[symbol]]:
                lacking.append(f"{name}.{symbol}")
    return lacking


def test_every_public_name_has_a_page():
    assert missing(api_pages.pages()) == []


def test_a_missing_page_is_found():
    pages = api_pages.pages()
    del pages["funcsgd.clip_grad_norm"], pages["torch_bridge.data"]
    found = missing(pages)
    assert "funcsgd.clip_grad_norm" in found
    assert "funcsgd.stages.clip_grad_norm" in found
    assert "torch_bridge.data.DataLoader" in found


def test_a_name_that_two_packages_export_has_one_page():
    pages = api_pages.pages()
    assert "funcsgd.sgd" in pages
    assert "funcsgd.optimizers.sgd" not in pages
    assert "](funcsgd.sgd.md)" in pages["funcsgd.optimizers"]


def test_the_reference_is_reached_from_the_index():
    assert re.search(r"^api/index$", (DOCS / "index.md").read_text(), re.M)
    assert len(set(api_pages.packages())) == len(api_pages.packages())
    index = api_pages.pages()["index"]
    assert all(f"]({name}.md)" in index for name in api_pages.packages())


def test_every_public_symbol_says_what_it_is():
    silent = []
    for package, names in api_pages.symbols().items():
        for symbol, _ in names:
            value = getattr(importlib.import_module(package), symbol)
            if callable(value) and not inspect.getdoc(value):
                silent.append(f"{package}.{symbol}")
    assert silent == []
