"""Which changes of a port's file may be the fix of which cause."""

import ast
from collections.abc import Iterator, Mapping

from torch_bridge.fixes import chains, forms
from torch_bridge.fixes.facts import Facts
from torch_bridge.fixes.seekers import (
    ACTIVATIONS,
    Seek,
    activation,
    alone,
    called,
    clipping,
    constant,
    decay_first,
    factor,
    flag,
    keyword,
    literal,
    moved,
    named,
    number,
    other_average,
    seed,
    summand,
    times_epoch,
    without,
)
from torch_bridge.fixes.source import Change, Source

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
    "float32-inside": (called("astype"), named({"float32": "float64"})),
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
_FORWARD: Mapping[str, tuple[Seek, ...]] = {
    "gelu-approximated": (keyword("approximate", "False"),),
    "gelu-not-approximated": (keyword("approximate", "True"),),
    "activation-extra": (called(*ACTIVATIONS),),
    "leaky-slope": (constant,),
    "elu-alpha": (constant,),
    "softmax-extra": (called("softmax", "log_softmax"),),
    "log-missing": (named({"softmax": "log_softmax"}),),
    "log-extra": (named({"log_softmax": "softmax"}),),
    "weight-transposed": (alone(forms.not_transposed),),
    "kernel-flipped": (called("flip"), alone(forms.not_reversed)),
    "residual-extra": (summand(),),
    "sign-of-a-sum": (alone(forms.opposite_sign),),
    "epsilon-inside-root": (alone(forms.outside_root),),
    "variance-unbiased-in-norm": (without("ddof"), keyword("ddof", "0")),
    "variance-biased-in-norm": (keyword("ddof", "1"),),
    "norm-evaluates": (keyword("use_running_average", "False"),),
    "norm-trains": (keyword("use_running_average", "True"),),
    "pooling-not-max": (named({"avg_pool": "max_pool"}),),
    "pooling-not-mean": (named({"max_pool": "avg_pool"}),),
    "pooling-padding-not-counted": (keyword("count_include_pad", "True"),),
    "pooling-padding-counted": (keyword("count_include_pad", "False"),),
    "class-weights-extra": (factor(),),
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
        keyword("eps_in_sqrt", "False"),
        alone(forms.outside_root),
    ),
    "eps-as-minimum": (alone(forms.sum_for_maximum),),
    "amsgrad-missing": (flag("amsgrad"),),
    "bias-correction-extra": (flag("bias_correction"),),
    "centered-missing": (flag("centered"),),
    "moments-nesterov": (flag("nesterov"),),
    "schedule-per-step": (times_epoch,),
    "schedule-late": (summand(1),),
    "schedule-early": (summand(1),),
    "average-from-start": (flag("copy_first"),),
    "state-in-a-narrow-type": (without("accumulator_dtype", "mu_dtype"),),
}
_BY_NAME: Mapping[str, tuple[Seek, ...]] = {**_REDUCED, **_GRADIENT, **_DATA, **_FORWARD, **_RULE}
_OF_FAMILY: Mapping[str, tuple[Seek, ...]] = {"clip": (clipping,)}


def changes(source: Source, facts: Facts) -> Iterator[Change]:
    """Yield the changes that may mend a cause, each once."""
    seen: set[str] = set()
    name = facts.entry.name
    seekers = (*_BY_NAME.get(name, ()), *_OF_FAMILY.get(facts.entry.family, ()))
    if name.startswith("activation-not-"):
        seekers = (activation,)
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
