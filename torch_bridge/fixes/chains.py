"""Chains of transformations: a member that is missing, too many, another one, or in the wrong place."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import optax

from torch_bridge.fixes.source import Change, Piece, Source


def chains(source: Source) -> Iterator[Any]:
    """The calls of ``optax.chain`` whose members are all written there."""
    for call in source.calls:
        if call.target is optax.chain and len(call.node.args) > 1 and not call.node.keywords:
            yield call.node


def moved(source: Source, first: str = "") -> Iterator[Change]:
    """One member of a chain in another place.

    Args:
        source: the file.
        first: a member whose call has such a parameter is moved before all others are.
    """
    for chain in chains(source):
        members = chain.args
        calls = {call.node: call for call in source.calls}
        likely = [i for i, each in enumerate(members) if each in calls and first in calls[each].parameters]
        for i in dict.fromkeys([*likely, *range(len(members))]):
            for j in range(len(members)):
                if j not in (i, i + 1):  # the neighbour behind it is moved before it
                    yield tuple(_in_order(source, members, i, j))


def _in_order(source: Source, members: Any, i: int, j: int) -> Iterator[Piece]:
    order = [*members[:i], *members[i + 1 :]]
    order.insert(j, members[i])
    for place, member in zip(members, order, strict=True):
        if place is not member:
            yield source.replaced(place, source.words(member))


def dropped(source: Source) -> Iterator[Change]:
    """A chain without one of its members."""
    for chain in chains(source):
        members = chain.args
        for i, member in enumerate(members):
            start, stop = source.span(member)
            if i + 1 < len(members):
                stop = source.span(members[i + 1])[0]
            else:
                start = source.span(members[i - 1])[1]
            yield ((start, stop, ""),)


def put_first(source: Source, package: str, member: str) -> Iterator[Change]:
    """A member first in a chain; or a chain of it and of a rule that stands alone.

    Args:
        source: the file.
        package: where the member is from.
        member: the call that makes it, without the package.
    """
    name, imports = source.imported(package)
    text = f"{name}.{member}"
    seen = False
    for chain in chains(source):
        seen = True
        start = source.span(chain.args[0])[0]
        yield (*imports, (start, start, f"{text}, "))
    if not seen:
        optax_name, more = source.imported("optax")
        for call in source.calls:
            if call.makes_a_rule:
                start, stop = source.span(call.node)
                wrapped = ((start, start, f"{optax_name}.chain({text}, "), (stop, stop, ")"))
                yield (*dict.fromkeys((*imports, *more)), *wrapped)


def other_call(source: Source, others: Mapping[Callable[..., Any], tuple[str, str]]) -> Iterator[Change]:
    """Another function called with the same arguments.

    Args:
        source: the file.
        others: of each function that is to be replaced, the package and the name of the other one.
    """
    for call in source.calls:
        if call.target is not None and call.target in others:
            package, function = others[call.target]
            name, imports = source.imported(package)
            yield (*imports, source.replaced(call.node.func, f"{name}.{function}"))
