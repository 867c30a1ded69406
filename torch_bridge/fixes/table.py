"""Which changes of a port's file may be the fix of which cause."""

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import optax

from torch_bridge.fixes import chains, forms, numbers
from torch_bridge.fixes.facts import Facts
from torch_bridge.fixes.source import Change, Source

Seek: TypeAlias = Callable[[Source, Facts], Iterator[Change]]
"""From a file and what is known to the places that a fix could be, the likeliest first."""

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


_MEAN, _SUM = named({"sum": "mean", "nansum": "nanmean"}), named({"mean": "sum"})
_REDUCED: Mapping[str, tuple[Seek, ...]] = {
    "loss-summed": (_MEAN,),
    "loss-averaged": (_SUM,),
    "loss-summed-over-targets": (_MEAN,),
    "loss-averaged-over-targets": (_SUM,),
    "loss-summed-over-all": (_MEAN,),
    "loss-halved": (factor(0.5, 2, 2.0),),
    "loss-doubled": (factor(0.5, 2, 2.0),),
    "loss-negated": (alone(forms.without_sign), alone(forms.with_sign)),
    "loss-in-bits": (named({"log2": "log"}),),
    "loss-scaled": (literal,),
    "loss-shifted": (summand(), literal),
    "label-smoothing": (literal, called("smooth_labels")),
    "l2-in-loss": (summand(),),
    "l2-of-matrices-in-loss": (summand(),),
    "l1-in-loss": (summand(),),
}
_GRADIENT: Mapping[str, tuple[Seek, ...]] = {
    "gradient-stopped": (called("stop_gradient"),),
    "parameters-frozen": (called("stop_gradient"),),
    "constant-of-the-function": (constant,),
    "float16-inside": (called("astype"), named({"float16": "float32"})),
    "bfloat16-inside": (called("astype"), named({"bfloat16": "float32"})),
    "precision-reduced": (called("reduce_precision"),),
}
_DATA: Mapping[str, tuple[Seek, ...]] = {
    "inputs-over-255": (factor(255),),
    "inputs-times-255": (factor(255),),
    "inputs-over-256": (factor(256),),
    "inputs-times-256": (factor(256),),
    "inputs-negated": (alone(forms.without_sign),),
    "inputs-scaled": (literal,),
    "inputs-shifted": (literal, summand()),
    "channels-reversed": (alone(forms.not_reversed), called("flip")),
    "inputs-flipped": (alone(forms.not_reversed), called("flip")),
    "inputs-transposed": (called("swapaxes", "transpose"),),
    "labels-reversed": (alone(forms.not_reversed), called("flip")),
    "labels-too-large": (summand(1),),
    "labels-too-small": (summand(1),),
    "labels-misplaced": (called("roll"),),
    "labels-misplaced-back": (called("roll"),),
    "targets-late": (called("roll"),),
    "targets-early": (called("roll"),),
    "not-shuffled": (flag("shuffle"),),
    "last-batch-dropped": (flag("drop_last", "drop_remainder"),),
    "last-batch-kept": (flag("drop_last", "drop_remainder"),),
    "batch-reversed": (alone(forms.not_reversed), called("flip")),
    "epoch-reversed": (alone(forms.not_reversed), called("reversed")),
    "batch-sorted": (called("sort", "sorted"),),
    "indices-off-by-one": (summand(1),),
    "order-of-another-seed": (seed,),
}
_RULE: Mapping[str, tuple[Seek, ...]] = {
    "decay-missing": (number, decay_first),
    "decay-doubled": (number, alone(chains.dropped), factor(2)),
    "decay-not-on-vectors": (without("mask"),),
    "decay-everywhere": (alone(forms.opposite_comparison),),
    "decay-on-vectors-only": (alone(forms.opposite_comparison),),
    "decay-decoupled": (moved("weight_decay"),),
    "decay-coupled": (moved("weight_decay"),),
    "decay-negative": (number, alone(forms.opposite_sign)),
    "decay-extra": (number, alone(chains.dropped), summand()),
    "decay-l1": (called("sign"),),
    "clip-extra": (alone(chains.dropped),),
    "clip-behind-decay": (moved("max_norm"),),
    "momentum-averaged": (other_average,),
    "nesterov-missing": (flag("nesterov"),),
    "nesterov-extra": (flag("nesterov"),),
    "rate-inside-buffer": (moved("decay"),),
    "momentum-negative": (alone(forms.opposite_sign),),
    "ascent": (alone(forms.with_sign), alone(forms.without_sign), alone(forms.opposite_sign)),
    "bias-correction-late": (summand(1),),
    "eps-in-root": (
        lambda source, facts: forms.exchanged_keywords(source, ("eps", "eps_root")),
        alone(forms.outside_root),
    ),
    "eps-as-minimum": (alone(forms.sum_for_maximum),),
    "amsgrad-missing": (flag("amsgrad"),),
    "moments-nesterov": (flag("nesterov"),),
    "schedule-per-step": (times_epoch,),
    "schedule-late": (summand(1),),
    "schedule-early": (summand(1),),
    "average-from-start": (flag("copy_first"),),
}
_BY_NAME: Mapping[str, tuple[Seek, ...]] = {**_REDUCED, **_GRADIENT, **_DATA, **_RULE}
_OF_FAMILY: Mapping[str, tuple[Seek, ...]] = {"clip": (clipping,)}


def changes(source: Source, facts: Facts) -> Iterator[Change]:
    """Yield the changes that may mend a cause, each once."""
    seen: set[str] = set()
    seekers = (*_BY_NAME.get(facts.entry.name, ()), *_OF_FAMILY.get(facts.entry.family, ()))
    for seek in seekers or (number,):
        for change in seek(source, facts):
            text = source.changed(change)
            if change and text not in seen and text != source.text and _parses(text):
                seen.add(text)
                yield change


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True
