"""Numbers of a port: literals in its file, and keywords of the calls in it."""

import ast
from collections.abc import Iterator, Sequence
from typing import Any

from torch_bridge.fixes.source import Change, Source

_CLOSE = 1e-5  # relative, of a fitted number to the one that is written


def shortest(value: float, close: float = 0.0) -> str:
    """Return the shortest text of a number that is as close to it, relatively."""
    texts = (f"{value:.{digits}g}" for digits in range(1, 17))
    return next((text for text in texts if abs(float(text) - value) <= close * abs(value)), repr(value))


def literals(source: Source, own: float, torch: str) -> Iterator[Change]:
    """Torch's number where a literal equals the port's: each by itself, then all of them."""
    found = [source.replaced(node, torch) for node in _numbers(source) if _is(node, own)]
    yield from ((piece,) for piece in found)
    if len(found) > 1:
        yield tuple(found)


def keywords(source: Source, names: Sequence[str], text: str, own: float | None = None) -> Iterator[Change]:
    """A keyword of a call that has such a parameter, given another value; added where the call leaves it out.

    Args:
        source: the file.
        names: the parameter's possible names.
        text: its value in code.
        own: the port's number, if it is known: a parameter that is left out must have it for its default.
    """
    for call in source.calls:
        for name in names:
            given = call.argument(name)
            if given is not None:
                if source.words(given) != text and (name in call.parameters or _has_keyword(call.node, name)):
                    yield (source.replaced(given, text),)
            elif name in call.parameters and (own is None or _near(call.parameters[name].default, own)):
                yield (added(source, call.node, f"{name}={text}"),)


def added(source: Source, call: Any, argument: str) -> tuple[int, int, str]:
    """One more argument at the end of a call."""
    last = max([*call.args, *(keyword.value for keyword in call.keywords)], key=lambda node: source.span(node)[1],
               default=None)  # fmt: skip
    if last is None:
        stop = source.span(call)[1] - 1
        return stop, stop, argument
    stop = source.span(last)[1]
    return stop, stop, f", {argument}"


def _has_keyword(call: Any, name: str) -> bool:
    return any(keyword.arg == name for keyword in call.keywords)


def _numbers(source: Source) -> Iterator[Any]:
    for node in source.of((ast.Constant, ast.UnaryOp)):
        if isinstance(node, ast.UnaryOp) or not isinstance(source.parents.get(node), ast.UnaryOp):
            yield node


def _is(node: Any, value: float) -> bool:
    sign = 1.0
    if isinstance(node, ast.UnaryOp):
        if not isinstance(node.op, ast.USub):
            return False
        node, sign = node.operand, -1.0
    return isinstance(node, ast.Constant) and _near(node.value, sign * value)


def _near(found: Any, value: float) -> bool:
    if isinstance(found, bool) or not isinstance(found, int | float):
        return False
    return abs(found - value) <= _CLOSE * abs(value) and found != 0
