"""Forms of a program that lose precision or overflow on some data: where they are in its dataflow."""

from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

import jax.numpy as jnp

from torch_bridge.judge.dataflow import MOVED, Node, reached, same_elements

Kind: TypeAlias = Literal["softmax without its maximum", "logarithm of a probability", "variance as E[x^2] - E[x]^2"]

_PICKED = MOVED | {"gather", "dynamic_slice", "slice", "concatenate", "split"}
_WEIGHED = _PICKED | {"mul", "neg", "dot_general", "select_n"}
_SUMMED = MOVED | {"psum", "add", "max", "abs", "mul", "div", "clamp", "select_n"}
_SCALED = MOVED | {"mul", "div", "psum", "select_n"}
_ELEMENTWISE = (_WEIGHED - {"dot_general"}) | _SUMMED | {"sub", "min"}
_EXTREMES = {"reduce_max", "reduce_min", "pmax", "pmin", "cummax", "argmax", "sort", "top_k", "reduce_window_max"}


def forms(nodes: Iterable[Node]) -> Iterator[tuple[Kind, Node]]:
    """Yield each such form of a program, and the operation at which it can be measured.

    *A softmax without its maximum*: an exponential is divided by its own sum, or its sum goes into a logarithm, and
    from its argument no maximum (or other extreme) was subtracted. *A logarithm of a probability*: of a softmax or a
    sigmoid, of elements, products or sums of it, or of 1 less it, with nothing between that keeps it from zero. *A
    variance as E[x^2] - E[x]^2*: a mean of squares less the square of a mean of the same elements.

    Args:
        nodes: see `torch_bridge.judge.dataflow.flattened`.
    """
    for node in nodes:
        if node.name in ("div", "mul", "log"):
            for exponential in _softmax(node):
                if _is_floating(exponential) and not _shifted(exponential.inputs[0]):
                    yield "softmax without its maximum", exponential
        if node.name in ("log", "log1p") and _is_floating(node) and _is_probability(node.inputs[0]):
            yield "logarithm of a probability", node
        if node.name == "sub" and _is_floating(node) and _is_variance(*node.inputs):
            yield "variance as E[x^2] - E[x]^2", node


def _is_floating(node: Node) -> bool:
    """Neither integers, whose sums are exact, nor complex numbers, which are no probabilities."""
    return bool(jnp.issubdtype(node.equation.outvars[0].aval.dtype, jnp.floating))


def _softmax(node: Node) -> list[Node]:
    """The exponentials that a quotient divides by their own sum, or whose sum a logarithm takes."""
    if node.name == "log":
        return _summed_exponentials(node.inputs[0])
    pairs = [node.inputs]
    if node.name == "mul":  # by a reciprocal
        (a, b), pairs = node.inputs, []
        for x, y in ((a, same_elements(b)), (b, same_elements(a))):
            if y.name == "div" and same_elements(y.inputs[0]).name == "literal":
                pairs.append((x, y.inputs[1]))
            elif y.name == "integer_pow" and y.equation.params["y"] == -1:
                pairs.append((x, y.inputs[0]))
    return [
        exponential
        for numerator, denominator in pairs
        if (sums := {same_elements(e.inputs[0]) for e in _summed_exponentials(denominator)})
        for exponential in reached(numerator, _WEIGHED)
        if exponential.name == "exp" and same_elements(exponential.inputs[0]) in sums
    ]


def _summed_exponentials(node: Node) -> list[Node]:
    sums = [x for x in reached(node, _SUMMED) if x.name == "reduce_sum"]
    return [x for total in sums for x in reached(total.inputs[0], _WEIGHED) if x.name == "exp"]


def _shifted(node: Node) -> bool:
    """True if an extreme of something was subtracted on the way here."""
    subtracted = [x for each in reached(node, _ELEMENTWISE) if each.name in ("sub", "neg") for x in each.inputs]
    return any(y.name in _EXTREMES for x in subtracted for y in reached(x, _ELEMENTWISE | {"log"}))


def _is_probability(node: Node) -> bool:
    """A softmax or a sigmoid, elements or sums of it, or 1 less it; what is bounded from below is none."""
    ways = list(reached(node, _PICKED | {"mul", "neg", "reduce_sum"}))
    ways += [
        y for x in ways if x.name == "sub" and x.inputs[0].name == "literal" for y in reached(x.inputs[1], _PICKED)
    ]
    return any(x.name == "logistic" or (x.name in ("div", "mul") and _softmax(x)) for x in ways)


def _is_variance(squares: Node, square: Node) -> bool:
    """A mean of squares, and the square of a mean of the same elements."""
    of = {same_elements(x) for each in _summands(squares) for x in _squared(each)}
    means = [x for each in reached(square, _SCALED) for x in _squared(each)] if of else []
    return any(same_elements(x) in of for mean in means for x in _summands(mean))


def _summands(node: Node) -> list[Node]:
    """The operand of a sum, all of it or, in a mean over a mask, the selected part."""
    sums = [x.inputs[0] for x in reached(node, _SCALED) if x.name == "reduce_sum"]
    return [x for total in sums for x in reached(total, MOVED | {"select_n"})]


def _squared(node: Node) -> list[Node]:
    node = same_elements(node)
    same = node.name == "mul" and same_elements(node.inputs[0]) is same_elements(node.inputs[1])
    power = node.name == "integer_pow" and node.equation.params["y"] == 2
    return [node.inputs[0]] if same or power or node.name == "square" else []
