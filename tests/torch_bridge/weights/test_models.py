import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_bridge
from tests.support.sampling import one_in
from tests.torch_bridge.weights import equinox_models, linen_models, nnx_models
from tests.torch_bridge.weights.torch_models import MODELS, trained

LIBRARIES = {"nnx": nnx_models, "linen": linen_models, "equinox": equinox_models}

CLOSE = 1e-13
"""Of outputs near 1 in float64, after some hundred operations: 450 units in the last place."""

SUMMED = {
    "tagger": [
        f"lstm.bias_{part}_l{depth}{way}" for part in ("ih", "hh") for depth in "01" for way in ("", "_reverse")
    ],
    "gru": ["gru.bias_ih_l0", "gru.bias_hh_l0"],
}
"""Biases that most JAX cells keep as their sum."""

QUICK = [("resnet", "nnx"), ("tagger", "equinox"), ("norms", "linen")]
OTHERS = [(name, library) for name in MODELS for library in LIBRARIES if (name, library) not in QUICK]
CASES = [*QUICK, *one_in(0, OTHERS, thorough=3)]


def distance(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


@pytest.mark.parametrize("case", CASES, ids=", ".join)
def test_outputs_agree_both_ways(case, x64):
    name, library = case
    model, x = trained(name)
    inputs = jnp.asarray(x.numpy())
    params, apply = LIBRARIES[library].port(name, inputs)
    overrides = linen_models.OVERRIDES.get(name) if library == "linen" else None
    weights = torch_bridge.map_weights(model, params, overrides=overrides)

    rows = [" ".join(row.split()) for row in str(weights).splitlines()]
    for pair in weights.pairs:  # nothing is done that is not printed
        shapes = ["x".join(map(str, shape)) for shape in (pair.operation.shape, pair.operation.result)]
        assert f"{pair.source} {shapes[0]} {pair.path} {shapes[1]} {pair.operation} {pair.by}" in rows

    moved = weights.to_jax(model)
    with torch.no_grad():
        assert distance(np.asarray(apply(moved, inputs)), model(x).numpy()) < CLOSE

    back = weights.state_dict(moved)
    state = model.state_dict()
    assert list(back) == list(state)
    sums = SUMMED.get(name, []) if any(pair.is_sum for pair in weights.pairs) else []
    for key, tensor in state.items():
        assert back[key].dtype == tensor.dtype
        assert torch.equal(back[key], tensor) or key in sums, key

    other, x = trained(name, seed=1)
    own = weights.to_jax(other)  # as if trained in JAX: numbers that the first model does not have
    model.load_state_dict(weights.state_dict(own))
    with torch.no_grad():
        assert distance(np.asarray(apply(own, jnp.asarray(x.numpy()))), model(x).numpy()) < CLOSE


@pytest.mark.thorough
@pytest.mark.parametrize("library", ["nnx", "linen"])
def test_what_is_mapped_wrong_shows_in_the_outputs(library, x64):
    model, x = trained("unet")
    inputs = jnp.asarray(x.numpy())
    params, apply = LIBRARIES[library].port("unet", inputs)
    where = "up2/kernel" if library == "nnx" else "params/ConvTranspose_1/kernel"
    wrong = {"up2.weight": (where, "transpose(2, 3, 1, 0)")}
    moved = torch_bridge.map_weights(model, params, overrides=wrong).to_jax(model)
    with torch.no_grad():
        assert distance(np.asarray(apply(moved, inputs)), model(x).numpy()) > 0.01
