"""A port's file: its text, its syntax tree, and what the names in it stand for."""

import ast
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from torch_bridge.judge.causes.edit import lines_of

Piece: TypeAlias = tuple[int, int, str]
"""The text from one place to another, in characters, and what shall stand there."""

Change: TypeAlias = tuple[Piece, ...]
"""Pieces that belong together."""

_TIGHT = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.Attribute, ast.Subscript, ast.Starred)
_LOOSE = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.IfExp, ast.Lambda)


@dataclass(frozen=True)
class Source:
    """A file of Python.

    Attributes:
        text: of the file.
        module: the names of the module that it makes.
    """

    text: str
    module: Mapping[str, Any]

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> tuple[Any, ...]:
        """All nodes of the tree that have a place in the text, in its order."""
        found = [node for node in ast.walk(self.tree) if hasattr(node, "lineno")]
        return tuple(sorted(found, key=lambda node: (node.lineno, node.col_offset)))

    @cached_property
    def parents(self) -> Mapping[ast.AST, ast.AST]:
        """The node that holds each node."""
        return {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    def of(self, kind: type | tuple[type, ...]) -> Iterator[Any]:
        """The nodes of a kind, in the order of the text."""
        return (node for node in self.nodes if isinstance(node, kind))

    @cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        for line in lines_of(self.text):
            starts.append(starts[-1] + len(line))
        return starts

    def place(self, line: int, column: int) -> int:
        """The character at a line, from 1, and a column in bytes, as `ast` counts."""
        start = self._starts[line - 1]
        row = self.text[start : self._starts[line]] if line < len(self._starts) else ""
        return start + len(row.encode()[:column].decode())

    def span(self, node: Any) -> tuple[int, int]:
        """Where a node begins and ends, in characters."""
        return self.place(node.lineno, node.col_offset), self.place(node.end_lineno, node.end_col_offset)

    def words(self, node: Any) -> str:
        """A node's text."""
        start, stop = self.span(node)
        return self.text[start:stop]

    def replaced(self, node: Any, text: str) -> Piece:
        """Another text in place of a node's."""
        return (*self.span(node), text)

    def inner(self, node: Any, part: Any) -> Piece:
        """One part of a node in place of the whole, in parentheses where the part could bind otherwise."""
        text = self.words(part)
        outer = self.parents.get(node)
        tight = isinstance(outer, _TIGHT) or (isinstance(outer, ast.Call) and outer.func is node)
        return self.replaced(node, f"({text})" if tight and isinstance(part, _LOOSE) else text)

    @cached_property
    def names(self) -> Mapping[str, Any]:
        """What names stand for: those of the module, and those that functions in it import."""
        found: dict[str, Any] = {}
        for node in self.of((ast.Import, ast.ImportFrom)):
            for alias in node.names:
                if isinstance(node, ast.Import):
                    name = alias.name if alias.asname else alias.name.partition(".")[0]
                    found[alias.asname or name] = sys.modules.get(name)
                else:
                    module = sys.modules.get(node.module or "")
                    inside = sys.modules.get(f"{node.module}.{alias.name}")
                    found[alias.asname or alias.name] = getattr(module, alias.name, inside)
        return {**found, **self.module}

    def resolved(self, node: Any) -> Any:
        """What a name, or one with dots, stands for; None if that is not known from outside."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if isinstance(node, ast.Attribute):
            return getattr(self.resolved(node.value), node.attr, None)
        return None

    @cached_property
    def calls(self) -> tuple["Call", ...]:
        """All calls, with what they call as far as it is known; functions that are handed on are called as well."""
        found = []
        for node in self.of(ast.Call):
            target = self.resolved(node.func)
            if target is None and isinstance(node.func, ast.Call) and node.func.args:
                target = self.resolved(node.func.args[0])  # wrapped(f)(...)
            found.append(Call(node, target if callable(target) else None))
        return tuple(found)

    def imported(self, package: str) -> tuple[str, Change]:
        """How a package is called here, and the import of it if there is none yet."""
        for name, value in self.names.items():
            if inspect.ismodule(value) and value.__name__ == package:
                return name, ()
        imports = [node for node in self.tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        after = max((node.end_lineno or 0 for node in imports), default=0)
        place = self._starts[after]
        return package, ((place, place, f"import {package}\n"),)

    def changed(self, change: Change) -> str:
        """The text with a change; later pieces first, so that places stay."""
        text = self.text
        for start, stop, new in sorted(change, reverse=True):
            text = text[:start] + new + text[stop:]
        return text


@dataclass(frozen=True)
class Call:
    """A call.

    Attributes:
        node: in the tree.
        target: what is called, where that is known.
    """

    node: Any
    target: Callable[..., Any] | None

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The parameters of what is called."""
        if self.target is None:
            return {}
        try:
            return inspect.signature(self.target).parameters
        except (TypeError, ValueError):  # some of C's have no signature
            return {}

    @property
    def makes_a_rule(self) -> bool:
        """True if it makes an optax transformation."""
        try:
            made = str(inspect.signature(self.target).return_annotation) if self.target is not None else ""
        except (TypeError, ValueError):
            return False
        return "GradientTransformation" in made

    def argument(self, name: str) -> Any:
        """The node of the argument that a parameter is given; None where there is none."""
        for keyword in self.node.keywords:
            if keyword.arg == name:
                return keyword.value
        place = list(self.parameters).index(name) if name in self.parameters else len(self.node.args)
        given = self.node.args[: place + 1]
        if any(isinstance(each, ast.Starred) for each in given) or place >= len(self.node.args):
            return None
        return self.node.args[place]
