"""The layer in which a difference begins, from values made up for a small chain: conv, relu, flat, head."""

import numpy as np
import pytest

from torch_bridge.judge.layers.comparison import APART, NO_WEIGHTS, StepLayers
from torch_bridge.judge.layers.counterparts import Counterpart
from torch_bridge.judge.layers.taps import Point
from torch_bridge.trace.phases import phase_of

KINDS = {"conv": "Conv2d", "relu": "ReLU", "flat": "Flatten", "head": "Linear", "unused": "Linear"}
SOURCES = {"relu": "conv", "flat": "relu", "head": "flat"}
COUNTERPARTS = {
    "conv": (Counterpart(("c",)),),
    "relu": None,
    "flat": None,
    "head": (Counterpart(("h",)),),
    "unused": (),
}


def drawn(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def twin():
    conv = drawn(2, 3, 4, 5)
    relu = np.maximum(conv, 0)
    values = {"input/conv": drawn(2, 2, 4, 5), "forward/conv": conv, "forward/relu": relu}
    values |= {"forward/flat": relu.reshape(2, -1), "forward/head": drawn(2, 7)}
    return values | {f"backward/{name}": drawn(*values[f"forward/{name}"].shape, 1)[..., 0] for name in SOURCES}


def port(values):
    """The same values in a port of channels last, at its two modules."""
    last = lambda x: np.moveaxis(x, 1, -1)  # noqa: E731
    found = {Point("input", "c"): last(values["input/conv"]), Point("forward", "c"): last(values["forward/conv"])}
    found |= {Point("input", "h"): values["forward/flat"], Point("forward", "h"): values["forward/head"]}
    return found | {Point("backward", "h"): values["backward/head"]}


def compared(values, reference=None, counterparts=COUNTERPARTS):
    reference = reference or twin()
    limits = {key: 1e-12 for key in reference if phase_of(key) == "forward"}
    return StepLayers(0, reference, limits, KINDS, SOURCES, counterparts, values)


def origin(step, loss_is_same=False):
    finding = step.origin(loss_is_same)
    return None if finding is None else (finding.phase, finding.name)


def test_layers_that_agree_are_no_origin_and_those_without_a_counterpart_are_named():
    step = compared(port(twin()))
    assert origin(step) is None
    assert origin(step, loss_is_same=True) is None
    rows = {layer.name: layer for layer in step.layers()}
    assert {name: (row.counterpart, row.reason) for name, row in rows.items()} == {
        "conv": ("c", ""),
        "relu": ("", NO_WEIGHTS),
        "flat": ("the input of h", ""),
        "head": ("h", ""),
        "unused": ("", "torch does not call it"),
    }


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ([Point("forward", "c"), Point("input", "h"), Point("forward", "h")], ("forward", "conv")),
        ([Point("input", "h"), Point("forward", "h")], ("input", "head")),  # relu or flat: it is not known which
        ([Point("forward", "h")], ("forward", "head")),
        ([Point("input", "c"), Point("forward", "c"), Point("input", "h"), Point("forward", "h")], ("input", "conv")),
        ([Point("input", "h")], None),  # flattened in another order, as the weights of the head are
    ],
)
def test_the_first_output_that_differs_though_its_input_agrees(changed, expected):
    values = port(twin())
    values |= {point: values[point] + 1e-6 for point in changed}
    step = compared(values)
    assert origin(step) == expected
    if expected is None:
        (head,) = [layer for layer in step.layers() if layer.name == "head"]
        assert head.given is None
        assert head.forward.same


def test_a_gradient_counts_where_outputs_and_loss_agree():
    values = port(twin())
    values[Point("backward", "h")] = values[Point("backward", "h")] * 2
    assert origin(compared(values)) is None
    assert origin(compared(values), loss_is_same=True) == ("backward", "head")
    values[Point("forward", "c")] = values[Point("forward", "c")] + 1.0
    assert origin(compared(values), loss_is_same=True) == ("forward", "conv")


@pytest.mark.parametrize(
    ("values", "counterparts", "reason"),
    [
        ({}, COUNTERPARTS, "whose c the port does not call, or within a loop or a branch, where nothing is seen"),
        ({Point("forward", "c"): np.zeros((2, 9))}, COUNTERPARTS, r"whose c returns an array of shape \(2, 9\)"),
        ({}, {"conv": ()}, APART),
    ],
)
def test_what_is_not_seen_or_has_another_shape_is_not_compared(values, counterparts, reason):
    step = compared(values, counterparts=counterparts)
    (conv,) = [layer for layer in step.layers() if layer.name == "conv"]
    assert (conv.counterpart, conv.forward) == ("", None)
    assert conv.reason.startswith(reason.replace("\\", ""))
    assert origin(step) is None
