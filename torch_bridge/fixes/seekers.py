"""Ways to seek a fix in a file, each for one kind of mistake."""

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import optax

from torch_bridge.fixes import chains, forms, numbers
from torch_bridge.fixes.facts import Facts
from torch_bridge.fixes.source import Change, Source

Seek: TypeAlias = Callable[[Source, Facts], Iterator[Change]]
"""From a file and what is known to the places that a fix could be, the likeliest first."""

ACTIVATIONS = ("relu", "gelu", "silu", "swish", "tanh", "sigmoid", "leaky_relu", "elu", "selu", "softplus", "relu6")
"""What activations are called in JAX."""

_CLOSE = 1e-6  # of a fitted number to torch's own
_FACTORS = (ast.Mult, ast.Div)
_SUMMANDS = (ast.Add, ast.Sub)


def number(source: Source, facts: Facts) -> Iterator[Change]:
    """Torch's number for the port's: where it is written, and where a call takes it."""
    if facts.torch is None:
        return
    text = numbers.shortest(facts.torch, 0.0 if facts.entry.number else _CLOSE)
    if facts.own is not None:
        yield from numbers.literals(source, facts.own, text)
    yield from numbers.keywords(source, facts.parameters, text)


def constant(source: Source, facts: Facts) -> Iterator[Change]:
    """A constant of the function, which may be a default of a library's."""
    own, torch = facts.cause.constants.get("constant"), facts.cause.constants.get("torch")
    if own is None or torch is None:
        return
    text = numbers.shortest(torch, _CLOSE)
    yield from numbers.literals(source, own, text)
    names = {name: None for call in source.calls for name in call.parameters}
    yield from numbers.keywords(source, tuple(names), text, own)


def literal(source: Source, facts: Facts) -> Iterator[Change]:
    """The fitted number left out where it stands."""
    if facts.own:
        for text in ("0.0", "1.0"):
            yield from numbers.literals(source, facts.own, text)


def flag(*names: str) -> Seek:
    """The opposite of a flag."""

    def seek(source: Source, facts: Facts) -> Iterator[Change]:
        yield from forms.opposite_flag(source, names)
        yield from numbers.keywords(source, names, str("missing" in facts.entry.name or "kept" in facts.entry.name))

    return seek


def named(others: Mapping[str, str]) -> Seek:
    """Another function under a name."""
    return lambda source, facts: forms.other_name(source, others)


def keyword(name: str, text: str) -> Seek:
    """A keyword of a call, given a value."""
    return lambda source, facts: numbers.keywords(source, (name,), text)


def activation(source: Source, facts: Facts) -> Iterator[Change]:
    """Torch's activation for another one."""
    torchs = facts.entry.name.removeprefix("activation-not-").replace("-", "_")
    return forms.other_name(source, {name: torchs for name in ACTIVATIONS if name != torchs})


def without(*names: str) -> Seek:
    """A keyword left out."""
    return lambda source, facts: forms.without_keyword(source, names)


def moved(first: str) -> Seek:
    """A member of a chain in another place, the likeliest one by a parameter's name."""
    return lambda source, facts: chains.moved(source, first)


def called(*names: str) -> Seek:
    """A call left out."""
    return lambda source, facts: forms.without_call(source, names)


def factor(*values: float) -> Seek:
    """A factor left out."""
    return lambda source, facts: forms.without_operand(source, _FACTORS, values or None)


def summand(*values: float) -> Seek:
    """A summand left out."""
    return lambda source, facts: forms.without_operand(source, _SUMMANDS, values or None)


def alone(seek: Callable[[Source], Iterator[Change]]) -> Seek:
    """A form that needs the source alone."""
    return lambda source, facts: seek(source)


def clipping(source: Source, facts: Facts) -> Iterator[Change]:
    """Torch's clipping for optax's, or first in the chain."""
    limit, value = facts.limit, "clip_value" in facts.clip
    if limit is None:
        return
    wanted = ("funcsgd", "clip_grad_value" if value else "clip_grad_norm")
    yield from chains.other_call(
        source, dict.fromkeys((optax.clip, optax.clip_by_global_norm, optax.clip_by_block_rms), wanted)
    )
    yield from number(source, facts)
    if facts.entry.name == "clip-missing":
        yield from chains.put_first(source, wanted[0], f"{wanted[1]}({numbers.shortest(limit)})")


def decay_first(source: Source, facts: Facts) -> Iterator[Change]:
    """Weight decay first in the chain."""
    if facts.torch:
        text = f"add_decayed_weights({numbers.shortest(facts.torch)})"
        yield from chains.put_first(source, "optax", text)


def times_epoch(source: Source, facts: Facts) -> Iterator[Change]:
    """Epochs counted in steps."""
    steps = facts.steps_per_epoch
    for call in source.calls if steps > 1 else ():
        for name in ("transition_steps", "decay_steps", "step_size", "T_max", "boundaries_and_scales"):
            given = call.argument(name)
            numbers_given = given.keys if isinstance(given, ast.Dict) else [given]
            pieces = [
                source.replaced(node, str(n * steps)) for node in numbers_given if (n := _whole(node)) is not None
            ]
            yield tuple(pieces)


def _whole(node: Any) -> int | None:
    value = getattr(node, "value", None)
    return value if isinstance(node, ast.Constant) and type(value) is int else None


def seed(source: Source, facts: Facts) -> Iterator[Change]:
    """Torch's seed."""
    for value in facts.seeds():
        yield from numbers.keywords(source, ("seed",), str(value))


def other_average(source: Source, facts: Facts) -> Iterator[Change]:
    """A buffer of gradients for their average."""
    yield from chains.other_call(source, {optax.ema: ("optax", "trace")})
    yield from forms.without_operand(source, (ast.Mult,))
