import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen

from tests.torch_bridge.weights.linen_models import Block
from tests.torch_bridge.weights.torch_models import trained
from torch_bridge import map_weights


class Scanned(linen.Module):
    """The GPT of `linen_models` with its blocks in one scan."""

    @linen.compact
    def __call__(self, tokens):
        embed = linen.Embed(11, 8)
        x = embed(tokens) + linen.Embed(5, 8)(jnp.arange(tokens.shape[1]))
        block = linen.scan(
            lambda block, x, _: (block(x), None), variable_axes={"params": 0}, split_rngs={"params": True}, length=2
        )
        x, _ = block(Block(name="blocks"), x, None)
        return embed.attend(linen.LayerNorm(epsilon=1e-5)(x))


@pytest.fixture
def pair(x64):
    model, tokens = trained("gpt")
    tokens = jnp.asarray(tokens.numpy())
    scanned = Scanned()
    shapes = jax.eval_shape(scanned.init, jax.random.key(0), tokens)
    return model, tokens, jax.jit(scanned.apply), shapes


def test_blocks_in_a_scan(pair):
    model, tokens, apply, shapes = pair
    norms = {f"h.0.ln_{i + 1}": f"blocks/LayerNorm_{i}" for i in range(2)}
    weights = map_weights(model, shapes, overrides=norms)
    assert "h.0.attn.in_proj_weight[0:8], h.1.attn.in_proj_weight[0:8]" in str(weights)
    assert weights.layers["h.1.attn"] == weights.layers["h.0.attn"]
    moved = weights.to_jax(model)
    with torch.no_grad():
        expected = model(torch.tensor(np.asarray(tokens))).numpy()
    assert np.abs(np.asarray(apply(moved, tokens)) - expected).max() < 1e-13 * np.abs(expected).max()
    back, state = weights.state_dict(moved), model.state_dict()
    assert all(torch.equal(back[name], state[name]) for name in state)
    assert {pair.by for pair in map_weights(model, moved).pairs} == {"values"}


def test_linear_layers_that_were_built_by_vmap():
    torch.manual_seed(0)
    model = torch.nn.ModuleList([torch.nn.Linear(4, 4) for _ in range(3)])
    stack = equinox.filter_vmap(lambda key: equinox.nn.Linear(4, 4, key=key))(jax.random.split(jax.random.key(0), 3))
    moved = map_weights(model, stack).to_jax(model)
    assert all(np.array_equal(moved.weight[i], layer.weight.detach()) for i, layer in enumerate(model))


def test_stacks_of_another_length_are_refused():
    model = torch.nn.ModuleList([torch.nn.Linear(4, 4) for _ in range(3)])
    with pytest.raises(ValueError, match="without a counterpart"):
        map_weights(model, {"kernel": np.zeros((2, 4, 4)), "bias": np.zeros((2, 4))})
