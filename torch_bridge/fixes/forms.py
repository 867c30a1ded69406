"""Forms of expressions: a factor, a call, a slice or a sign too many, or another function."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch_bridge.fixes.source import Change, Source

_OPPOSITE = {ast.Lt: ">=", ast.GtE: "<", ast.Gt: "<=", ast.LtE: ">", ast.Eq: "!=", ast.NotEq: "=="}


def other_name(source: Source, others: Mapping[str, str]) -> Iterator[Change]:
    """Another function or method under a call's last name, such as ``mean`` for ``sum``."""
    for call in source.of(ast.Call):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in others:
            stop = source.span(call.func)[1]
            yield ((stop - len(name), stop, others[name]),)


def without_call(source: Source, names: Sequence[str]) -> Iterator[Change]:
    """The first argument of a call, or what a method is called of, in place of the call."""
    for call in source.of(ast.Call):
        attribute = isinstance(call.func, ast.Attribute)
        name = call.func.attr if attribute else getattr(call.func, "id", "")
        if name not in names:
            continue
        method = attribute and source.resolved(call.func.value) is None
        if method:
            yield (source.inner(call, call.func.value),)
        elif call.args:
            yield (source.inner(call, call.args[0]),)


def without_operand(
    source: Source, kinds: tuple[type[ast.operator], ...], numbers: Sequence[float] | None = None
) -> Iterator[Change]:
    """One operand of an operation in place of it.

    Args:
        source: the file.
        kinds: of the operation.
        numbers: what is left out must be one of these; None leaves out anything.
    """
    for node in source.of(ast.BinOp):
        if not isinstance(node.op, kinds):
            continue
        for kept, left_out in ((node.left, node.right), (node.right, node.left)):
            one_sided = isinstance(node.op, ast.Div | ast.Sub | ast.FloorDiv | ast.Pow) and kept is node.right
            value = getattr(left_out, "value", None)
            if not one_sided and (numbers is None or (isinstance(value, int | float) and value in numbers)):
                yield (source.inner(node, kept),)


def without_sign(source: Source) -> Iterator[Change]:
    """An operand in place of its negative."""
    for node in source.of(ast.UnaryOp):
        if isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
            yield (source.inner(node, node.operand),)


def with_sign(source: Source) -> Iterator[Change]:
    """The negative of what is returned, or of the first argument of a call that makes a rule."""
    for node in source.of(ast.Return):
        if node.value is not None and not isinstance(node.value, ast.Dict | ast.Tuple):
            yield (source.replaced(node.value, f"-({source.words(node.value)})"),)
    for call in source.calls:
        if call.makes_a_rule and len(call.node.args) == 1:
            yield (source.replaced(call.node.args[0], f"-{_tight(source, call.node.args[0])}"),)


def opposite_sign(source: Source) -> Iterator[Change]:
    """A sum in place of a difference, and the other way round."""
    for node in source.of(ast.BinOp):
        if isinstance(node.op, ast.Add | ast.Sub):
            yield (_between(source, node.left, node.right, "+", "-", isinstance(node.op, ast.Add)),)


def opposite_comparison(source: Source) -> Iterator[Change]:
    """The opposite of a comparison, as in a mask."""
    for node in source.of(ast.Compare):
        if len(node.ops) == 1 and type(node.ops[0]) in _OPPOSITE:
            left, right = source.words(node.left), source.words(node.comparators[0])
            yield (source.replaced(node, f"{left} {_OPPOSITE[type(node.ops[0])]} {right}"),)


def not_reversed(source: Source) -> Iterator[Change]:
    """What a slice in steps of -1 is taken of, in place of the slice."""
    for node in source.of(ast.Subscript):
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        steps = [part.step for part in parts if isinstance(part, ast.Slice) and part.step is not None]
        if steps and all(ast.unparse(step) == "-1" for step in steps):
            yield (source.inner(node, node.value),)


def not_transposed(source: Source) -> Iterator[Change]:
    """``x`` in place of ``x.T``."""
    for node in source.of(ast.Attribute):
        if node.attr == "T":
            yield (source.inner(node, node.value),)


def outside_root(source: Source) -> Iterator[Change]:
    """``sqrt(a) + b`` in place of ``sqrt(a + b)``."""
    for call in source.of(ast.Call):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if name == "sqrt" and len(call.args) == 1 and isinstance(call.args[0], ast.BinOp):
            total = call.args[0]
            if isinstance(total.op, ast.Add):
                function = source.words(call.func)
                text = f"{function}({source.words(total.left)}) + {source.words(total.right)}"
                yield (source.replaced(call, f"({text})"),)


def sum_for_maximum(source: Source) -> Iterator[Change]:
    """``(a + b)`` in place of ``maximum(a, b)``."""
    for call in source.of(ast.Call):
        if getattr(call.func, "attr", "") == "maximum" and len(call.args) == 2:
            yield (source.replaced(call, f"({source.words(call.args[0])} + {source.words(call.args[1])})"),)


def opposite_flag(source: Source, names: Sequence[str]) -> Iterator[Change]:
    """True in place of False, and the other way round, for a keyword."""
    for call in source.of(ast.Call):
        for keyword in call.keywords:
            if keyword.arg in names and isinstance(keyword.value, ast.Constant):
                yield (source.replaced(keyword.value, str(not keyword.value.value)),)


def without_keyword(source: Source, names: Sequence[str]) -> Iterator[Change]:
    """A call without one of its keywords."""
    for call in source.of(ast.Call):
        for keyword in call.keywords:
            if keyword.arg in names:
                start, stop = source.span(keyword)
                given = [source.span(node) for node in (*call.args, *call.keywords)]
                before = [end for _, end in given if end <= start]
                after = [begin for begin, _ in given if begin >= stop]
                yield ((max(before), stop, ""),) if before else ((start, min(after, default=stop), ""),)


def exchanged_keywords(source: Source, names: tuple[str, str]) -> Iterator[Change]:
    """The values of two keywords of a call, each in the place of the other."""
    for call in source.of(ast.Call):
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        if all(name in given for name in names):
            one, other = (given[name] for name in names)
            yield source.replaced(one, source.words(other)), source.replaced(other, source.words(one))


def _tight(source: Source, node: Any) -> str:
    text = source.words(node)
    return f"({text})" if isinstance(node, ast.BinOp | ast.IfExp | ast.Compare) else text


def _between(source: Source, left: Any, right: Any, plus: str, minus: str, is_plus: bool) -> tuple[int, int, str]:
    start, stop = source.span(left)[1], source.span(right)[0]
    old, new = (plus, minus) if is_plus else (minus, plus)
    return start, stop, source.text[start:stop].replace(old, new, 1)
