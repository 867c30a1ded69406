"""One fault at a time in a port that can have many: which one is an argument, so that the port is compiled once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

import torch_bridge
from tests.torch_bridge.judge import layer_nets
from torch_bridge.judge.findings import function_finding, limits
from torch_bridge.judge.layers.findings import layer_findings
from torch_bridge.judge.layers.port_layers import layers_of
from torch_bridge.judge.widening import widened
from torch_bridge.trace.trace import in_phase

FOUND = {
    "convolutions": {
        "kernel": ("forward", "conv1"),
        "swapped": ("forward", "conv1"),
        "padding": ("forward", "conv2"),
        "eps": ("forward", "bn"),
        "eps of groups": ("forward", "gn"),
        "function": ("input", "conv1"),
        "module": ("forward", "act"),
        "stopped gradient": ("backward", "gn"),
        "derivative": ("backward", "conv2"),
    },
    "transformer": {
        "kernel": ("forward", "block.mlp.0"),
        "swapped": ("forward", "block.mlp.0"),
        "eps": ("forward", "block.ln_2"),
        "scale": ("input", "block.attn.proj"),
        "residual": ("input", "block.ln_2"),
        "positions": ("forward", "wpe"),
        "module": ("forward", "block.mlp.1"),
        "derivative": ("backward", "ln_f"),
    },
    "recurrent": {
        "order of the gates": ("forward", "lstm"),
        "reset gate": ("forward", "gru"),
        "function": ("input", "gru"),
        "first step": ("input", "tags"),
        "derivative": ("backward", "gru"),
    },
}
"""The faults of each network, and where each begins."""

NAMES = sorted({name for faults in FOUND.values() for name in faults})


class Fault:
    """What the port that is being traced has wrong."""

    def __init__(self):
        self.number, self.asked = -1, set()

    def __call__(self, name, wrong, right):
        """The wrong value if this is the fault, else the right one."""
        self.asked.add(name)
        return jnp.where(self.number == NAMES.index(name), wrong, right)


fault = Fault()


class Port:
    """A port of a recorded network: its loss, and its layers compared in float64 under each fault."""

    def __init__(self, library, name):
        self.name, (self.trace, self.data) = name, layer_nets.recorded(name)
        params, logits = library.port(name)
        self.weights = torch_bridge.map_weights(
            self.trace, params, overrides=getattr(library, "OVERRIDES", {}).get(name)
        )

        self.faults = set()

        @jax.jit
        def loss_fn(params, batch):
            x, y, fault.number = batch
            fault.asked = self.faults
            try:
                return optax.softmax_cross_entropy_with_integer_labels(logits(params, x), y).mean()
            finally:
                fault.number = -1

        self.loss_fn = loss_fn
        self.layers = layers_of(self.trace, self.weights)
        self._program = widened(jax.value_and_grad(self.layers.watch.traced(loss_fn)))

    def batch(self, name=""):
        return *self.data, np.int32(NAMES.index(name) if name else -1)

    def compared(self, name=""):
        """The findings on layers with a fault."""
        trace = self.trace
        params = self.weights.to_jax(in_phase(trace.initial, "parameter"))
        result = self._program(params, self.batch(name))
        loss, gradient = result.wide
        values = {"loss": np.asarray(loss)}
        values |= {f"gradient/{key}": value for key, value in self.weights.to_torch(gradient).items()}
        bounds, twin = limits(trace.twins[0], trace.step(0)), trace.twins[0]
        functions = [function_finding(0, key, twin[key], values[key], bounds[key], None) for key in values]
        return functions, layer_findings(trace, functions, self.layers, {0: bounds}, lambda step: result.names)


@functools.cache
def port(library, name):
    return Port(library, name)


def begins(library, name):
    """For each fault that a port can have, the phase and the layer in which it begins."""
    each, found = port(library, name), {}
    each.compared()
    for known in each.faults:
        functions, layers = each.compared(known)
        assert not all(finding.same for finding in functions), known
        ((found[known],),) = ([(origin.phase, origin.name) for origin in layers.origins],)
    return found
