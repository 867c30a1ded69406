import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

from torch_bridge.init.flax_nnx import like_torch
from torch_bridge.random import Generator


def rngs():
    return nnx.Rngs(0)


class TorchNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList([nn.Conv2d(8, 8, (1, 3), groups=4), nn.GroupNorm(2, 8)])
        self.words = nn.Embedding(5, 8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.head = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4, bias=False))


class FlaxNet(nnx.Module):
    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 8, (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.blocks = nnx.List(
            [nnx.Conv(8, 8, (1, 3), feature_group_count=4, rngs=rngs), nnx.GroupNorm(8, num_groups=2, rngs=rngs)]
        )
        self.words = nnx.Embed(5, 8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(num_heads=2, in_features=8, decode=False, rngs=rngs)
        self.head = nnx.Sequential(
            nnx.LayerNorm(8, rngs=rngs),
            nnx.Linear(8, 16, rngs=rngs),
            nnx.relu,
            nnx.Linear(16, 4, use_bias=False, rngs=rngs),
        )


def assert_same_bits(variable, tensor):
    actual, expected = np.asarray(variable[...]), tensor.detach().numpy()
    assert actual.shape == expected.shape
    assert actual.tobytes() == np.ascontiguousarray(expected).tobytes()


@pytest.mark.parametrize("seed", [*(pytest.param(x, marks=pytest.mark.thorough) for x in (0, 1, -3)), 2**40])
def test_every_weight_of_a_model(seed):
    torch.manual_seed(seed)
    theirs = TorchNet()
    ours = FlaxNet(rngs())
    assert like_torch(ours, seed) is ours
    assert_same_bits(ours.stem.kernel, theirs.stem.weight.permute(2, 3, 1, 0))
    assert_same_bits(ours.norm.scale, theirs.norm.weight)
    assert_same_bits(ours.norm.bias, theirs.norm.bias)
    assert_same_bits(ours.norm.mean, theirs.norm.running_mean)
    assert_same_bits(ours.norm.var, theirs.norm.running_var)
    assert_same_bits(ours.blocks[0].kernel, theirs.blocks[0].weight.permute(2, 3, 1, 0))
    assert_same_bits(ours.blocks[0].bias, theirs.blocks[0].bias)
    assert_same_bits(ours.blocks[1].scale, theirs.blocks[1].weight)
    assert_same_bits(ours.words.embedding, theirs.words.weight)
    for i, name in enumerate(("query", "key", "value")):
        rows = theirs.attention.in_proj_weight[8 * i : 8 * i + 8]
        assert_same_bits(getattr(ours.attention, name).kernel, rows.T.reshape(8, 2, 4))
        assert_same_bits(getattr(ours.attention, name).bias, torch.zeros(2, 4))
    assert_same_bits(ours.attention.out.kernel, theirs.attention.out_proj.weight.T.reshape(2, 4, 8))
    assert_same_bits(ours.head.layers[1].kernel, theirs.head[1].weight.T)
    assert_same_bits(ours.head.layers[1].bias, theirs.head[1].bias)
    assert_same_bits(ours.head.layers[3].kernel, theirs.head[3].weight.T)


def test_attention_computes_the_same():
    """The heads are where they belong: float64 arithmetic on equal float32 weights, compared at float32's eps."""
    torch.manual_seed(4)
    theirs = nn.MultiheadAttention(8, 2).double()
    with jax.enable_x64(True):
        ours = like_torch(nnx.MultiHeadAttention(num_heads=2, in_features=8, decode=False, rngs=rngs()), 4)
        x = np.random.default_rng(0).normal(size=(6, 8))
        expected, _ = theirs(*(torch.from_numpy(x),) * 3)
        actual = jax.jit(nnx.MultiHeadAttention.__call__)(ours, jnp.asarray(x, jnp.float64))
        np.testing.assert_allclose(actual, expected.detach().numpy(), atol=np.finfo(np.float32).eps)


def run_jitted(module, x):
    return jax.jit(lambda module, x: module(x))(module, jnp.asarray(x, jnp.float64))


@pytest.mark.thorough
@pytest.mark.parametrize("transpose_kernel", [False, True])
@pytest.mark.parametrize(
    "kernel_size", [(2, 3), *(pytest.param(x, marks=pytest.mark.thorough) for x in ((3,), (2, 3, 2)))]
)
def test_transposed_convolutions_compute_the_same(kernel_size, transpose_kernel):
    """In float64 on equal float32 weights: what is turned round wrongly is off by everything."""
    n = len(kernel_size)
    torch.manual_seed(2)
    theirs = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[n - 1](4, 3, kernel_size, stride=2).double()
    x = np.random.default_rng(0).normal(size=(2, 4, *range(3, 3 + n)))
    expected = np.moveaxis(theirs(torch.from_numpy(x)).detach().numpy(), 1, -1)
    with jax.enable_x64(True):
        options = {"padding": "VALID", "transpose_kernel": transpose_kernel, "rngs": rngs()}
        ours = like_torch(nnx.ConvTranspose(4, 3, kernel_size, 2, **options), 2)
        np.testing.assert_allclose(run_jitted(ours, np.moveaxis(x, 1, -1)), expected, atol=1e-14)
    assert_same_bits(ours.bias, theirs.bias.float())


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("theirs", "ours"), [(nn.LSTM, nnx.LSTMCell), (nn.LSTM, nnx.OptimizedLSTMCell), (nn.RNN, nnx.SimpleCell)]
)
def test_recurrent_layers_compute_the_same(theirs, ours):
    """Two layers, both directions. The sum of two biases is rounded to float32, hence float32's eps."""
    torch.manual_seed(3)
    theirs = theirs(3, 4, num_layers=2, bidirectional=True, batch_first=True).double()
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    expected, _ = theirs(torch.from_numpy(x))
    with jax.enable_x64(True):
        cells = [ours(features, 4, dtype=jnp.float64, rngs=rngs()) for features in (3, 3, 8, 8)]
        pairs = [nnx.Bidirectional(nnx.RNN(cells[i]), nnx.RNN(cells[i + 1])) for i in (0, 2)]
        model = like_torch(nnx.Sequential(*pairs), 3)
        for cell in cells:
            cell.param_dtype = jnp.float64  # what the cell's first state has
        actual = run_jitted(model, x)
    np.testing.assert_allclose(actual, expected.detach().numpy(), atol=np.finfo(np.float32).eps)


def test_the_lstms_kernels_and_its_summed_bias():
    torch.manual_seed(5)
    theirs, ours = nn.LSTMCell(3, 4), like_torch(nnx.OptimizedLSTMCell(3, 4, rngs=rngs()), 5)
    assert_same_bits(ours.dense_i.kernel, theirs.weight_ih.T)
    assert_same_bits(ours.dense_h.kernel, theirs.weight_hh.T)
    assert_same_bits(ours.dense_h.bias, theirs.bias_ih + theirs.bias_hh)


def test_bfloat16_parameters():
    torch.manual_seed(0)
    theirs = nn.Linear(3, 5, dtype=torch.bfloat16)
    ours = like_torch(nnx.Linear(3, 5, param_dtype=jnp.bfloat16, rngs=rngs()), 0)
    np.testing.assert_array_equal(np.asarray(ours.kernel[...], np.float32), theirs.weight.detach().float().numpy().T)


def test_a_generator_is_drawn_on():
    generator = Generator(0)
    first = like_torch(nnx.Linear(2, 2, rngs=rngs()), generator)
    second = like_torch(nnx.Linear(2, 2, rngs=rngs()), generator)
    torch.manual_seed(0)
    for ours in (first, second):
        assert_same_bits(ours.kernel, nn.Linear(2, 2).weight.T)


def test_a_shared_layer_draws_once():
    class Tied(nnx.Module):
        def __init__(self):
            self.a = nnx.Linear(2, 2, rngs=rngs())
            self.b = self.a
            self.c = nnx.Linear(2, 2, rngs=rngs())

    ours = like_torch(Tied(), 0)
    torch.manual_seed(0)
    assert_same_bits(ours.a.kernel, nn.Linear(2, 2).weight.T)
    assert_same_bits(ours.c.kernel, nn.Linear(2, 2).weight.T)


def test_layers_without_weights_pass():
    like_torch(nnx.Sequential(nnx.Dropout(0.5, rngs=rngs()), nnx.BatchNorm(2, use_bias=False, rngs=rngs())), 0)


def test_a_weight_that_torch_does_not_have_is_refused_before_anything_changes():
    class Scaled(nnx.Module):
        def __init__(self):
            self.linear = nnx.Linear(2, 2, rngs=rngs())
            self.scale = nnx.Param(jnp.ones(2))

    model = Scaled()
    before = np.asarray(model.linear.kernel[...])
    with pytest.raises(ValueError, match=r"model\.scale: torch has no layer like Scaled"):
        like_torch(model, 0)
    np.testing.assert_array_equal(model.linear.kernel[...], before)
    with pytest.raises(ValueError, match=r"model\.cell: torch's GRU adds a bias .* nnx.GRUCell has none there"):
        like_torch(nnx.RNN(nnx.GRUCell(2, 2, rngs=rngs())), 0)
    with pytest.raises(ValueError, match="torch's RNN adds no residual"):
        like_torch(nnx.SimpleCell(2, 2, residual=True, rngs=rngs()), 0)
    attention = nnx.MultiHeadAttention(num_heads=2, in_features=8, qkv_features=4, rngs=rngs())
    with pytest.raises(ValueError, match="as many features in as out"):
        like_torch(attention, 0)
