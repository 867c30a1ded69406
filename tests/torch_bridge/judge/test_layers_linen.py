"""A wrong layer of a port of flax linen is named, and a correct port is not accused."""

import optax
import pytest

import torch_bridge
from tests.support.sampling import one_in
from tests.torch_bridge.judge import layer_ports_linen
from tests.torch_bridge.judge.layer_faults import FOUND, begins, port


@pytest.mark.parametrize("name", one_in(0, ["recurrent", "convolutions", "transformer"]))
def test_each_fault_begins_in_its_layer_and_none_in_a_correct_port(name):
    functions, found = port(layer_ports_linen, name).compared()
    assert all(finding.same for finding in functions)
    assert found.origins == ()
    assert [layer.name for layer in found.layers if layer.reason] == (["pool"] if name == "convolutions" else [])
    for layer in found.layers:
        assert all(apart is None or apart.same for apart in (layer.given, layer.forward, layer.backward)), layer
    faults = begins(layer_ports_linen, name)
    assert faults == {fault: FOUND[name][fault] for fault in faults}
    assert set(FOUND[name]) - set(faults) <= {"padding"}


@pytest.mark.parametrize("fault", one_in(0, ["eps", ""], thorough=2))
def test_the_verdict(fault):
    each = port(layer_ports_linen, "transformer")
    report = torch_bridge.check(
        each.trace, optax.sgd(0.1), loss_fn=each.loss_fn, data=lambda t, i: each.batch(fault), weights=each.weights
    )
    if fault:
        assert (report.difference.phase, report.difference.name) == ("forward", "block.ln_2"), report
        assert "(its input agrees)" in str(report)
    else:
        assert report.verdict in ("bitwise", "same function"), report
