"""An optimizer's name occurs in its adapter and its rule alone, so that adding one is adding two files."""

import ast
import pkgutil
import re
from pathlib import Path

import pytest
import torch

import funcsgd.optimizers
from torch_bridge.translate.optimizers import registry

ROOT = Path(__file__).parents[1]
PACKAGES = ("funcsgd", "torch_bridge")
HOMES = (
    "funcsgd/__init__.py",  # exports the rules
    "funcsgd/manifest.py",  # lists every public name
    "funcsgd/noisy_quadratic/rule.py",  # builds the optimizer that the theory is about
    "funcsgd/optimizers/",
    "torch_bridge/translate/optimizers/",
    "torch_bridge/demo/live.py",  # a user's script
    "torch_bridge/demo/recipe.py",  # and its port
)
"""Where names may occur: files, and folders that end in a slash."""


def optimizer_names():
    """The names of torch's optimizers, of those that have adapters, and of the modules of rules; in lower case."""
    classes = [c for c in vars(torch.optim).values() if isinstance(c, type) and issubclass(c, torch.optim.Optimizer)]
    of_torch = {c.__name__ for c in classes} - {"Optimizer"}
    adapted = {torch_class.rpartition(".")[2] for torch_class in registry.registered()}
    modules = {module.name for module in pkgutil.iter_modules(funcsgd.optimizers.__path__)}
    return {name.lower() for name in of_torch | adapted | modules & set(funcsgd.optimizers.__all__)}


def texts(source):
    """The identifiers and the strings of a module, docstrings excepted, with their lines."""
    tree = ast.parse(source)
    docstrings = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if id(node) not in docstrings:
            line = getattr(node, "lineno", 0)
            for _, value in ast.iter_fields(node):
                for text in value if isinstance(value, list) else [value]:
                    if isinstance(text, str):
                        yield line, text


def words(text):
    """The words of a text and of its identifiers, in lower case: of ``"AdamWState"`` adam, w, state, adamw, ..."""
    for word in re.findall(r"[A-Za-z]+", text):
        parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", word)
        for start in range(len(parts)):
            yield from ("".join(parts[start:stop]).lower() for stop in range(start + 1, len(parts) + 1))


def named(source, names):
    """The lines of a module that name an optimizer, in words."""
    return sorted({f"{line}: {text!r}" for line, text in texts(source) if names.intersection(words(text))})


@pytest.mark.parametrize("package", PACKAGES)
def test_no_optimizer_is_named_outside_its_adapter_and_its_rule(package):
    names = optimizer_names()
    found = {}
    for file in sorted((ROOT / package).rglob("*.py")):
        path = file.relative_to(ROOT).as_posix()
        if not path.startswith(HOMES) and (lines := named(file.read_text(), names)):
            found[path] = lines
    assert found == {}


def test_the_names_are_those_of_torch_of_the_adapters_and_of_the_rules():
    names = optimizer_names()
    assert {"sgd", "adam", "adamw", "rmsprop", "lbfgs"} <= names
    assert names.isdisjoint({"optimizer", "leaves", "parameter_groups", "from_groups"})


FAULTS = {
    "a call": "rule = funcsgd.sgd(0.1)",
    "an import": "from funcsgd.optimizers.adam import update",
    "a class": "class AdamWAdapter: ...",
    "a parameter": "def f(*, is_adam=False): ...",
    "a keyword": "f(rmsprop_alpha=0.9)",
    "a string": 'classes = ("torch.optim.SGD",)',
    "a formatted string": 'raise TypeError(f"{x} needs Adam")',
    "capitals inside": "RMSpropState = 1",
    "a match": "match x:\n    case NAdam(): ...",
    "a docstring's neighbour": '"""Docstring."""\nx = "sgd"',
}


@pytest.mark.parametrize("source", FAULTS.values(), ids=FAULTS.keys())
def test_a_name_is_found(source):
    assert len(named(source, optimizer_names())) == 1


INNOCENT = {
    "the package": "import funcsgd",
    "docstrings": '"""Like Adam."""\ndef f():\n    """SGD\'s."""\nx: int\n"""Of Adam."""',
    "a comment": "x = 1  # SGD",
    "parts of words": "madam = radamant = 1",
}


@pytest.mark.parametrize("source", INNOCENT.values(), ids=INNOCENT.keys())
def test_what_is_no_name_is_not_found(source):
    assert named(source, optimizer_names()) == []
