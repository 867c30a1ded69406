"""A wrong layer of a port of flax nnx is named, and a correct port is not accused."""

import re

import jax
import optax
import pytest
from flax import nnx

import torch_bridge
from tests.support.sampling import one_in
from tests.support.small_run import DATA, recorded
from tests.torch_bridge.judge import layer_ports_nnx
from tests.torch_bridge.judge.layer_faults import FOUND, begins, port
from torch_bridge.judge.report import Report, first_difference
from torch_bridge.judge.sentence import sentence
from torch_bridge.render.json import plain
from torch_bridge.trace.phases import FIRST

WORDS = {
    "convolutions": {"module": r"in output of act\[[\d, ]+\] \(its input agrees\): torch"},
    "transformer": {
        "scale": r"in input of block.attn.proj\[[\d, ]+\] \(the output of block.attn.qkv, before it, agrees\): torch",
        "derivative": r"in gradient of the output of ln_f\[[\d, ]+\] \(that of head, after it, agrees\): torch",
    },
    "recurrent": {},
}


@pytest.mark.parametrize("name", one_in(3, ["convolutions", "transformer", "recurrent"]))
def test_each_fault_begins_in_its_layer_and_none_in_a_correct_port(name):
    functions, found = port(layer_ports_nnx, name).compared()
    assert all(finding.same for finding in functions)
    assert found.origins == ()
    assert [layer.name for layer in found.layers if layer.reason] == (["pool"] if name == "convolutions" else [])
    for layer in found.layers:
        assert all(apart is None or apart.same for apart in (layer.given, layer.forward, layer.backward)), layer
    assert begins(layer_ports_nnx, name) == FOUND[name]
    for fault, words in WORDS[name].items():
        functions, found = port(layer_ports_nnx, name).compared(fault)
        first = first_difference((*found.origins, *functions), (), (), FIRST)
        assert re.search(words, sentence(Report("different", 1, difference=first, layers=found.layers))), words


def checked(name, fault=""):
    each = port(layer_ports_nnx, name)
    return torch_bridge.check(
        each.trace, optax.sgd(0.1), loss_fn=each.loss_fn, data=lambda t, i: each.batch(fault), weights=each.weights
    )


class Perceptron(nnx.Module):
    def __init__(self, rngs):
        self.first, self.last = nnx.Linear(6, 5, rngs=rngs), nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.hard_tanh(self.first(x)))


@pytest.mark.thorough
def test_the_verdict_names_the_layer_and_what_agrees_beside_it():
    trace, call = recorded(epochs=1), nnx.Linear.__call__
    graph, params = nnx.split(Perceptron(nnx.Rngs(0)))

    @jax.jit  # run before it is evaluated in float64, so that JAX has kept its program
    def loss_fn(params, batch):
        logits = nnx.merge(graph, params)(batch[0])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()

    weights = torch_bridge.map_weights(trace, params)
    report = torch_bridge.check(trace, optax.sgd(0.1), loss_fn=loss_fn, data=DATA, weights=weights)
    assert [layer.counterpart for layer in report.layers] == ["first", "the input of last", "last"]
    assert (report.difference.step, report.difference.phase, report.difference.name) == (0, "forward", "1")
    assert re.search(
        r"first at step 0 of 3 \(from 0\), in output of 1\[\d+, \d\] \(its input agrees\): torch ", str(report)
    )
    assert not [note for note in report.notes if note.startswith("Layers")]
    rows = {layer["name"]: layer for layer in plain(report.to_dict())["layers"]}
    assert [rows[name]["kind"] for name in "012"] == ["Linear", "Tanh", "Linear"]
    assert rows["0"]["forward"]["distance"] < 1e-13 < rows["1"]["forward"]["distance"]
    assert nnx.Linear.__call__ is call


@pytest.mark.exhaustive
def test_the_verdict_on_a_recurrent_net():
    report = checked("recurrent", "order of the gates")
    assert (report.difference.phase, report.difference.name) == ("forward", "lstm"), report
    rows = {layer.name: layer for layer in report.layers}
    assert list(rows) == ["embed", "lstm", "gru", "tags"]
    assert rows["embed"].given is None  # whole numbers


@pytest.mark.parametrize("name", one_in(0, FOUND, thorough=3))
def test_a_correct_port_is_the_same_function(name):
    report = checked(name)
    assert report.verdict in ("bitwise", "same function"), report
    without = [note for note in report.notes if note.startswith("Layers without")]
    if name == "convolutions":
        assert without == [
            "Layers without a counterpart in the port: pool (AvgPool2d), without weights, and not directly in front of "
            "a layer that has a counterpart."
        ]
    else:
        assert without == []
