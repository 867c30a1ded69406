"""The JAX script that a port of a recorded run begins with."""

from collections.abc import Mapping
from typing import Any

from torch_bridge.translate.explain import explain
from torch_bridge.translate.recipe_data import recorded_recipe
from torch_bridge.translate.schedule_data import described

_HEAD = '''"""The JAX port of {trace}, to be completed in the lines marked FILL IN.

Then: torch-bridge check {trace} {name}
"""
'''

_BODY = '''

# {layers}
# Parameters are kept under torch's names and in torch's layout:
{parameters}{buffers}
# A model of flax or equinox has a layout of its own: weights = torch_bridge.map_weights(trace, params) moves them.


def loss_fn(params, batch):
    """FILL IN: the loss of a batch, a scalar; a Linear layer is x @ params["NAME.weight"].T + params["NAME.bias"]."""
    raise NotImplementedError("loss_fn is to be filled in")


{data}


def port(trace):
    """What torch-bridge check compares with the recorded run."""
    return {{"tx": tx, "loss_fn": loss_fn, "data": data()}}


def train(trace):
    """The run by itself: torch's initial weights, torch's batches; returns the last parameters and every loss."""
    params = {{name: jnp.asarray(trace.initial["parameter/" + name]) for name in trace.static["shapes"]}}
    state, losses{arrays} = tx.init(params), []{given}

    @jax.jit
    def step(params, state, batch):
        loss, grads = jax.value_and_grad(loss_fn)(params, batch)
        updates, state = tx.update(grads, state, params{value})
        return optax.apply_updates(params, updates), state, loss

    for t in range(trace.n_steps):
{batch}
        params, state, loss = step(params, state, batch)
        losses.append(float(loss))
    return params, losses


if __name__ == "__main__":
    print(train(torch_bridge.Trace.load({trace}))[1])
'''


_BY_INDICES = {
    "data": '''def data():
    """FILL IN: the arrays of which the recorded indices take each batch, with a leading axis of examples; or a function
    (step, indices) -> batch."""
    raise NotImplementedError("data is to be filled in")''',
    "arrays": ", arrays",
    "given": ", data()",
    "batch": """        indices = trace.step(t)["data"]
        batch = jax.tree.map(lambda array: array[indices[indices >= 0]], arrays)""",
}
_KEPT = {
    "data": '''def data():
    """The trace holds the batches themselves; FILL IN a function (step, None) -> batch to give others."""
    return None''',
    "arrays": "",
    "given": "",
    "batch": "        batch = recorded_batch(trace, t)",
}

_BUFFERS = """
# Buffers of the model change. A loss_fn(params, batch, model_state) -> (loss, model_state), with "buffers": True in
# port(), shows what BatchNorm keeps, which acts at evaluation; torch's first values are trace.initial["buffer/NAME"].
"""


def port_script(header: Mapping[str, Any], *, trace: str, run: str | None = None, name: str, epochs: int) -> str:
    """Return the source of a script to complete: recipe, initial weights, data order, and a loss function to fill in.

    Args:
        header: of the recorded run, ``trace.static``.
        trace: the trace's file.
        run: the name of the run in it; None is the only one.
        name: the script's own file.
        epochs: see `explain`.

    Raises:
        TypeError: the optimizer, or something around it, has no equivalent.
        ValueError: the trace holds no recipe.
    """
    recipe = recorded_recipe(header)
    explanation = explain(recipe, epochs=epochs)
    needed = ["import jax", "import jax.numpy as jnp", "import optax", "import torch_bridge"]
    needed += ["from torch_bridge.trace.batch import recorded_batch"] if "batch" in header else []
    lines = explanation.funcsgd.splitlines()
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    rest = "\n".join(line for line in lines if line not in imports).strip()
    functions = "".join(
        f"{key} = None  # FILL IN: {described(what)!r}\n" for key, what in explanation.functions.items()
    )
    modules = header.get("modules") or {}
    layers = "Layers: " + ", ".join(f"{module!r} {kind!r}" for module, kind in modules.items())
    # repr, since a name in a trace may hold anything, a line break too
    parameters = "\n".join(f"#   {key!r} {tuple(shape)}" for key, shape in header["shapes"].items())
    body = _BODY.format(
        layers=layers if modules else "Layers: not recorded",
        parameters=parameters,
        trace=repr(trace) if run is None else f"{trace!r}, {run!r}",
        buffers=_BUFFERS.rstrip() if header.get("momenta") else "",
        **(_KEPT if "batch" in header else _BY_INDICES),
        value=", value=loss" if "value=" in explanation.funcsgd else "",
    )
    head = _HEAD.format(trace=trace, name=name)
    return "\n".join([head, *sorted({*imports, *needed}), "", functions + rest, ""]) + body
