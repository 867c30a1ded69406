import numpy as np
import pytest
from torch import nn

from torch_bridge import map_weights


def params():
    return {name: {"kernel": np.zeros((4, 4), np.float32), "bias": np.zeros(4, np.float32)} for name in "ab"}


MODEL = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))


@pytest.mark.parametrize("path", ["b/kernel", "b.kernel", "['b']['kernel']"])
def test_a_tensor_takes_its_layer_along(path):
    weights = map_weights(MODEL, params(), overrides={"0.weight": path})
    assert dict(weights.layers) == {"0": "b", "1": "a"}
    assert {pair.path: pair.by for pair in weights.pairs if "b/" in pair.path} == {
        "b/kernel": "override", "b/bias": "override",
    }  # fmt: skip


def test_a_star_is_a_number():
    weights = map_weights(MODEL, {"l_0": params()["a"], "l_1": params()["b"]}, overrides={"*": "l_*"})
    assert weights.layers == {"0": "l_0", "1": "l_1"}
    assert {pair.by for pair in weights.pairs} == {"override"}
    weights = map_weights(
        MODEL, {"l_0": params()["a"], "l_1": params()["b"]}, overrides={"*.weight": ("l_*/kernel", "as is")}
    )
    assert str(weights.pairs[0].operation) == "as is"


def test_an_operation():
    weights = map_weights(MODEL, params(), overrides={"0": "a", "0.weight": ("a/kernel", "as is")})
    assert str(weights.pairs[0]) == "a/kernel = 0.weight, as is"
    assert np.array_equal(weights.to_jax(MODEL)["a"]["kernel"], MODEL[0].weight.detach())
    assert str(weights.pairs[2].operation) == "transpose(1, 0)"


def test_collections_of_linen_may_be_left_out():
    for path in ("params/b", "b"):
        assert map_weights(MODEL, {"params": params()}, overrides={"0": path}).layers == {"0": "b", "1": "a"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"0.wieght": "a/kernel"}, "'0.wieght' is no tensor or module of torch's; near to it are '0.weight'"),
        ({"0.weight": "a/kernal"}, "no JAX leaf has the path 'a/kernal'; near to it are 'a/kernel'"),
        ({"0": "c"}, "JAX has nothing at 'c'"),
        ({"0": ("a", "as is")}, "'0' is a module: an operation, here 'as is', is given for a tensor"),
        ({"0.weight": ("a/kernel", "reshape(2, 8)")}, r"makes '0.weight' \(2, 8\), but 'a/kernel' is \(4, 4\)"),
        ({"0.weight": ("a/kernel", "turn")}, "cannot read the operation 'turn'"),
        ({"0.weight": "a/bias"}, "'0.weight' .* needs an operation .none that is known."),
        ({"0": "a/bias"}, "does not fit: no layer there can be '0'"),
        ({"9": None}, "'9' is no tensor or module"),
        ({"0": 3}, r"'0' is 3: give a path, \(path, operation\) or None"),
        ({"h.*": "a"}, r"'h\.\*' matches no tensor or module"),
    ],
)
def test_errors(overrides, message):
    with pytest.raises(ValueError, match=message):
        map_weights(MODEL, params(), overrides=overrides)
