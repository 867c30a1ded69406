"""BatchNorm's statistics after the averaging, against torch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from funcsgd.averages import update_bn


class Net(nnx.Module):
    """A convolution and a dense layer, each with its BatchNorm, as in `TorchNet`."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 3, (3, 3), padding="VALID", rngs=rngs)
        self.first = nnx.BatchNorm(3, rngs=rngs)
        self.dense = nnx.Linear(3, 4, rngs=rngs)
        self.second = nnx.BatchNorm(4, rngs=rngs)

    def __call__(self, x):
        x = jax.nn.relu(self.first(self.conv(x)))
        return self.second(self.dense(x.mean((1, 2))))


class TorchNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, 3)
        self.first = torch.nn.BatchNorm2d(3)
        self.dense = torch.nn.Linear(3, 4)
        self.second = torch.nn.BatchNorm1d(4)

    def forward(self, x):
        x = self.first(self.conv(x)).relu()
        return self.second(self.dense(x.mean((2, 3))))


def pair():
    """The same float64 weights on both sides: rounding is then 1e-16, and every fault of method far above it."""
    torch.manual_seed(0)
    theirs, ours = TorchNet().double(), Net(nnx.Rngs(0))
    state = jax.tree.map(lambda x: x.astype(jnp.float64), nnx.state(ours))
    nnx.update(ours, state)
    with torch.no_grad():
        ours.conv.kernel.set_value(jnp.asarray(theirs.conv.weight.permute(2, 3, 1, 0).numpy()))
        ours.conv.bias.set_value(jnp.asarray(theirs.conv.bias.numpy()))
        ours.dense.kernel.set_value(jnp.asarray(theirs.dense.weight.T.numpy()))
        ours.dense.bias.set_value(jnp.asarray(theirs.dense.bias.numpy()))
    return ours, theirs


def batches(sizes=(8, 8, 5)):
    rng = np.random.default_rng(0)
    return [rng.normal(1.0, 2.0, size=(n, 6, 6, 2)) for n in sizes]


def furthest(ours, theirs):
    """The greatest relative distance between the statistics of both sides."""
    pairs = [
        (getattr(getattr(ours, layer), name)[...], getattr(getattr(theirs, layer), f"running_{name}").numpy())
        for layer in ("first", "second")
        for name in ("mean", "var")
    ]
    return max(float(np.max(np.abs(a - b)) / np.max(np.abs(b))) for a, b in pairs)


def test_by_hand():
    layer = nnx.BatchNorm(1, rngs=nnx.Rngs(0))
    update_bn([jnp.array([[0.0], [2.0]]), (jnp.array([[4.0], [4.0]]), "labels")], layer)
    assert (layer.mean[...].tolist(), layer.var[...].tolist()) == ([2.5], [1.0])


def test_equal_to_torch_but_for_rounding(x64):
    ours, theirs = pair()
    torch.optim.swa_utils.update_bn([torch.from_numpy(x).permute(0, 3, 1, 2) for x in batches()], theirs)
    update_bn(batches(), ours)
    # Each statistic is a sum of at most 8 * 4 * 4 values over sums of 3 * 3 * 2; each addition may lose one eps.
    n_additions = 2 * (8 * 4 * 4 + 3 * 3 * 2 + 4)
    assert furthest(ours, theirs) < n_additions * np.finfo(float).eps


@pytest.mark.parametrize("fault", ["biased", "last batch dropped", "never run"])
def test_planted_faults_are_found(x64, fault):
    ours, theirs = pair()
    torch.optim.swa_utils.update_bn([torch.from_numpy(x).permute(0, 3, 1, 2) for x in batches()], theirs)
    if fault != "never run":
        update_bn(batches()[: 2 if fault == "last batch dropped" else None], ours)
    if fault == "biased":
        ours.first.var[...] = ours.first.var[...] * (1 - 1 / (8 * 4 * 4))
    assert furthest(ours, theirs) > 1e-3


def test_a_layer_called_twice_counts_twice():
    class Twice(nnx.Module):
        def __init__(self):
            self.norm = nnx.BatchNorm(1, use_bias=False, use_scale=False, rngs=nnx.Rngs(0))

        def __call__(self, x):
            self.norm(x)
            return self.norm(x + 2)

    model = Twice()
    update_bn([jnp.array([[0.0], [2.0]])], model)
    assert (model.norm.mean[...].tolist(), model.norm.var[...].tolist()) == ([2.0], [2.0])


def test_mode_options_and_parameters_stay():
    model = Net(nnx.Rngs(0))
    model.eval()
    before = jax.tree.map(np.asarray, nnx.state(model, nnx.Param))
    update_bn([x.astype("float32") for x in batches()], model)
    assert model.first.use_running_average
    assert (model.first.momentum, model.first.use_fast_variance) == (0.99, True)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), before, nnx.state(model, nnx.Param)))


def test_random_numbers_move_on_from_batch_to_batch():
    model = nnx.Sequential(nnx.Dropout(0.5, rngs=nnx.Rngs(0)), nnx.BatchNorm(3, rngs=nnx.Rngs(1)))
    update_bn([jnp.ones((4, 3))] * 3, model)
    assert int(model.layers[0].rngs.count[...]) == 3


def test_no_data_resets_and_no_layer_reads_no_data():
    layer = nnx.BatchNorm(1, rngs=nnx.Rngs(0))
    layer.mean[...] = jnp.array([9.0])
    update_bn([], layer)
    assert (layer.mean[...].tolist(), layer.var[...].tolist()) == ([0.0], [1.0])

    def unread():
        raise AssertionError("looked at")
        yield

    update_bn(unread(), nnx.Linear(1, 1, rngs=nnx.Rngs(0)))


def test_a_single_value_is_refused_in_torchs_words():
    with pytest.raises(ValueError, match=r"Expected more than 1 value per channel when training, got input size"):
        update_bn([jnp.ones((1, 2))], nnx.BatchNorm(2, rngs=nnx.Rngs(0)))
