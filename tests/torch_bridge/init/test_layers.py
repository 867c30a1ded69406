import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from torch_bridge import init
from torch_bridge.random import default_generator, fork_rng, manual_seed, traced

SEEDS = (0, 1, 42, -3, 2**40 + 5)


def assert_same_module(make_torch, make_ours, seeds=SEEDS):
    """Build a module by both from each seed: equal state dicts in every bit, in order, and equal streams after it."""
    with fork_rng():
        for seed in seeds:
            torch.manual_seed(seed)
            manual_seed(seed)
            theirs, ours = make_torch().state_dict(), make_ours()
            assert list(ours) == list(theirs)
            for name, tensor in theirs.items():
                assert ours[name].dtype.name == str(tensor.dtype).removeprefix("torch.")
                assert ours[name].tobytes() == tensor.contiguous().numpy().tobytes(), (seed, name)
                assert ours[name].shape == tuple(tensor.shape)
            np.testing.assert_array_equal(default_generator.get_state(), torch.get_rng_state().numpy())


LAYERS = {
    "linear": (lambda: nn.Linear(3, 5), lambda: init.linear(3, 5)),
    "linear without bias": (lambda: nn.Linear(784, 128, bias=False), lambda: init.linear(784, 128, bias=False)),
    "linear in float64": (lambda: nn.Linear(7, 11, dtype=torch.float64), lambda: init.linear(7, 11, dtype="float64")),
    "bilinear": (lambda: nn.Bilinear(3, 4, 5), lambda: init.bilinear(3, 4, 5)),
    "bilinear without bias": (lambda: nn.Bilinear(3, 4, 5, bias=False), lambda: init.bilinear(3, 4, 5, bias=False)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, groups=2), lambda: init.conv1d(4, 6, 3, groups=2)),
    "conv2d": (lambda: nn.Conv2d(3, 8, 5), lambda: init.conv2d(3, 8, 5)),
    "conv2d oblong": (
        lambda: nn.Conv2d(3, 8, (1, 4), bias=False),
        lambda: init.conv2d(3, 8, (1, 4), bias=False),
    ),
    "conv3d": (lambda: nn.Conv3d(2, 4, 3), lambda: init.conv3d(2, 4, 3)),
    "conv3d oblong": (lambda: nn.Conv3d(2, 4, (1, 2, 3)), lambda: init.conv3d(2, 4, (1, 2, 3))),
    "transposed": (
        lambda: nn.ConvTranspose2d(4, 6, 3, groups=2),
        lambda: init.conv(4, 6, (3, 3), groups=2, transposed=True),
    ),
    "embedding": (lambda: nn.Embedding(10, 7), lambda: init.embedding(10, 7)),
    "small embedding": (lambda: nn.Embedding(3, 5), lambda: init.embedding(3, 5)),
    "padded embedding": (lambda: nn.Embedding(10, 7, padding_idx=-1), lambda: init.embedding(10, 7, -1)),
    "batch norm": (lambda: nn.BatchNorm2d(6), lambda: init.batch_norm(6)),
    "bare batch norm": (
        lambda: nn.BatchNorm1d(6, affine=False, track_running_stats=False),
        lambda: init.batch_norm(6, affine=False, track_running_stats=False),
    ),
    "layer norm": (lambda: nn.LayerNorm((3, 4)), lambda: init.layer_norm((3, 4))),
    "layer norm without bias": (lambda: nn.LayerNorm(4, bias=False), lambda: init.layer_norm(4, bias=False)),
    "bare layer norm": (
        lambda: nn.LayerNorm(4, elementwise_affine=False),
        lambda: init.layer_norm(4, elementwise_affine=False),
    ),
    "group norm": (lambda: nn.GroupNorm(2, 6), lambda: init.group_norm(2, 6)),
    "rnn": (lambda: nn.RNN(3, 5, 2), lambda: init.rnn(3, 5, 2)),
    "gru": (
        lambda: nn.GRU(3, 5, 2, bidirectional=True, bias=False),
        lambda: init.gru(3, 5, 2, bidirectional=True, bias=False),
    ),
    "lstm": (lambda: nn.LSTM(3, 5, 3, bidirectional=True), lambda: init.lstm(3, 5, 3, bidirectional=True)),
    "lstm with projection": (
        lambda: nn.LSTM(3, 5, 2, bidirectional=True, proj_size=2),
        lambda: init.lstm(3, 5, 2, bidirectional=True, proj_size=2),
    ),
    "rnn cell": (lambda: nn.RNNCell(3, 5), lambda: init.cell(1, 3, 5)),
    "gru cell": (lambda: nn.GRUCell(3, 5), lambda: init.cell(3, 3, 5)),
    "lstm cell": (lambda: nn.LSTMCell(3, 5, bias=False), lambda: init.cell(4, 3, 5, bias=False)),
    "attention": (lambda: nn.MultiheadAttention(8, 2), lambda: init.multihead_attention(8, 2)),
    "attention to other features": (
        lambda: nn.MultiheadAttention(8, 2, kdim=5, vdim=6, add_bias_kv=True),
        lambda: init.multihead_attention(8, 2, kdim=5, vdim=6, add_bias_kv=True),
    ),
    "attention without bias": (
        lambda: nn.MultiheadAttention(8, 4, bias=False),
        lambda: init.multihead_attention(8, 4, bias=False),
    ),
    "encoder layer": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16),
        lambda: init.transformer_encoder_layer(8, 2, 16),
    ),
    "decoder layer": (
        lambda: nn.TransformerDecoderLayer(8, 2, 16, bias=False),
        lambda: init.transformer_decoder_layer(8, 2, 16, bias=False),
    ),
    "encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 3, nn.LayerNorm(8)),
        lambda: init.copied_layers(init.transformer_encoder_layer(8, 2, 16), 3, init.layer_norm(8)),
    ),
    "transformer": (
        lambda: nn.Transformer(8, 2, 2, 3, 16, batch_first=True),
        lambda: init.transformer(8, 2, 2, 3, 16),
    ),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer(layer):
    assert_same_module(*LAYERS[layer])


def test_models_of_many_layers():
    assert_same_module(
        lambda: nn.Sequential(
            nn.Conv2d(1, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, groups=4, bias=False),
            nn.Flatten(),
            nn.Linear(64, 33),
            nn.LSTM(33, 7),
        ),
        lambda: init.sequential(
            init.conv2d(1, 8, 3),
            init.batch_norm(8),
            {},
            init.conv2d(8, 16, 3, groups=4, bias=False),
            {},
            init.linear(64, 33),
            init.lstm(33, 7),
        ),
    )


def test_a_linear_weight_by_hand():
    # bound = sqrt(3) * sqrt(2 / 6) / sqrt(4) = 1/2, and torch.manual_seed(0); torch.rand(1) is 0.4962566
    weight = init.linear(4, 1, generator=manual_seed(0))["weight"]
    np.testing.assert_allclose(weight[0, 0], 0.4962566 - 0.5, rtol=1e-4)


@pytest.mark.parametrize(
    ("make_torch", "make_ours", "error"),
    [
        (lambda: nn.Conv2d(3, 4, 1, groups=2), lambda: init.conv2d(3, 4, 1, groups=2), ValueError),
        (lambda: nn.Conv2d(4, 3, 1, groups=2), lambda: init.conv2d(4, 3, 1, groups=2), ValueError),
        (lambda: nn.GroupNorm(2, 5), lambda: init.group_norm(2, 5), ValueError),
        (lambda: nn.LSTM(0, 3), lambda: init.lstm(0, 3), ValueError),
        (lambda: nn.LSTM(3, 0), lambda: init.lstm(3, 0), ValueError),
        (lambda: nn.LSTM(3, 3, 0), lambda: init.lstm(3, 3, 0), ValueError),
        (lambda: nn.LSTM(3, 3, proj_size=-1), lambda: init.lstm(3, 3, proj_size=-1), ValueError),
        (lambda: nn.LSTM(3, 3, proj_size=3), lambda: init.lstm(3, 3, proj_size=3), ValueError),
        (lambda: nn.MultiheadAttention(0, 1), lambda: init.multihead_attention(0, 1), ValueError),
        (lambda: nn.MultiheadAttention(8, 3), lambda: init.multihead_attention(8, 3), AssertionError),
    ],
)
def test_refused_as_torch_refuses(make_torch, make_ours, error):
    with pytest.raises(error) as theirs:
        make_torch()
    with pytest.raises(error) as ours:
        make_ours()
    assert str(ours.value) == str(theirs.value)


@pytest.mark.thorough
def test_many_seeds_in_one_program():
    def model(seed):
        generator = traced.Generator(seed)
        return init.sequential(
            init.conv2d(1, 4, 3, generator=generator),
            init.batch_norm(4),
            init.embedding(5, 7, 2, generator=generator),
            init.multihead_attention(8, 2, generator=generator),
            init.linear(4, 3, generator=generator),
            init.gru(3, 5, generator=generator),
        ), generator.state

    models, states = jax.jit(jax.vmap(model))(jnp.arange(4))
    for seed in range(4):
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Embedding(5, 7, 2), nn.MultiheadAttention(8, 2)]
        theirs = nn.Sequential(*layers, nn.Linear(4, 3), nn.GRU(3, 5)).state_dict()
        assert models.keys() == theirs.keys()
        for name, tensor in theirs.items():
            if name != "1.num_batches_tracked":  # int64 in torch, int32 in JAX
                assert np.asarray(models[name][seed]).tobytes() == tensor.numpy().tobytes(), (seed, name)
        np.testing.assert_array_equal(
            traced.to_host(jax.tree.map(lambda x, i=seed: x[i], states)).key,
            torch.get_rng_state().numpy()[24:5016].view(np.uint64).astype(np.uint32),
        )
