import numpy as np
import pytest
import torch
from flax import nnx

from torch_bridge import linear_weights
from torch_bridge.translate.weights import same_weights


class Net(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(4, 3, rngs=rngs)
        self.last = nnx.Linear(3, 2, use_bias=False, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.relu(self.first(x)))


@pytest.fixture
def pair():
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2, bias=False))
    named = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    return model, named


def test_a_flax_model_computes_what_the_torch_model_computes(pair):
    model, named = pair
    net = Net()
    params = nnx.to_pure_dict(nnx.state(net, nnx.Param))
    weights = linear_weights(params, {"0": "first", "2": "last"})
    state = nnx.state(net, nnx.Param)
    nnx.replace_by_pure_dict(state, weights.to_jax(named))
    nnx.update(net, state)
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    np.testing.assert_allclose(net(x), model(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_there_and_back_is_the_same_in_every_bit(pair):
    _, named = pair
    weights = linear_weights(nnx.state(Net(), nnx.Param), {"0": "first", "2": "last"})
    back = weights.to_torch(weights.to_jax(named))
    assert {name: array.tobytes() for name, array in back.items()} == {n: a.tobytes() for n, a in named.items()}


def test_by_hand():
    weights = linear_weights({"d": {"kernel": np.zeros((2, 1), np.float32)}}, {"fc": "d"})
    assert weights.to_jax({"fc.weight": np.float32([[1, 2]])})["d"]["kernel"].tolist() == [[1], [2]]


def test_missing_leaves():
    weights = same_weights({"a": np.zeros(2), "b": np.zeros(3)})
    assert weights.to_jax({"a": np.ones(2)}, partial=True)["b"] is None
    assert list(weights.to_torch({"a": np.ones(2), "b": None})) == ["a"]
    with pytest.raises(KeyError, match="no torch parameter 'b'"):
        weights.to_jax({"a": np.ones(2)})


def test_what_does_not_fit_is_named():
    params = {"d": {"kernel": np.zeros((2, 1)), "scale": np.zeros(1)}}
    with pytest.raises(ValueError, match=r"'d\.scale' is no kernel or bias"):
        linear_weights(params, {"fc": "d"})
    with pytest.raises(ValueError, match="no parameters under other"):
        linear_weights({"d": {"kernel": np.zeros((2, 1))}}, {"fc": "d", "gone": "other"})
    weights = linear_weights({"d": {"kernel": np.zeros((2, 1))}}, {"fc": "d"})
    with pytest.raises(ValueError, match=r"shape \(1, 2\) in JAX's layout, its leaf has \(2, 1\)"):
        weights.to_jax({"fc.weight": np.zeros((2, 1))})


def test_a_convolution_is_refused():
    params = {"c": {"kernel": np.zeros((3, 3, 2, 4)), "bias": np.zeros(4)}}
    with pytest.raises(ValueError, match=r"'c.kernel' has shape \(3, 3, 2, 4\): .* HWIO"):
        linear_weights(params, {"conv": "c"})
