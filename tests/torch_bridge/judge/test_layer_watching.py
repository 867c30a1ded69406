"""Points at the layers of a program: of flax, of equinox, within jit and vmap, and of functions that know none."""

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from torch_bridge import map_weights
from torch_bridge.judge.layers.notes import beside_words, unmatched_note
from torch_bridge.judge.layers.port_layers import named_layers
from torch_bridge.judge.layers.taps import Point, points_of
from torch_bridge.judge.layers.watching import CALLS, Watch
from torch_bridge.judge.widening import widened

TORCH = {"0.weight": (4, 3), "0.bias": (4,), "2.weight": (3, 4), "2.bias": (3,)}
TORCH = {name: np.zeros(shape, np.float32) for name, shape in TORCH.items()}
X = jnp.ones((2, 3))


class OfNnx(nnx.Module):
    def __init__(self):
        self.layers = nnx.List([nnx.Linear(*sizes, rngs=nnx.Rngs(0)) for sizes in ((3, 4), (4, 3))])

    def __call__(self, x):
        return self.layers[1](jnp.tanh(self.layers[0](x)))


class Doubled(linen.Dense):
    def __call__(self, x):
        return 2 * super().__call__(x)


class OfLinen(linen.Module):
    @linen.compact
    def __call__(self, x):
        return Doubled(3, name="layers_1")(jnp.tanh(linen.Dense(4, name="layers_0")(x)))


class OfEquinox(equinox.Module):
    layers: list

    def __call__(self, x):
        return self.layers[1](jnp.tanh(self.layers[0](x)))


def ports():
    graph, params = nnx.split(OfNnx())
    yield "nnx", params, lambda params, x: nnx.merge(graph, params)(x), "layers/"
    variables = OfLinen().init(jax.random.key(0), X)
    yield "linen", variables, OfLinen().apply, "layers_"
    model = OfEquinox([equinox.nn.Linear(*sizes, key=jax.random.key(0)) for sizes in ((3, 4), (4, 3))])
    yield "equinox", model, lambda model, x: jax.vmap(model)(x), "layers/"


PORTS = {name: rest for name, *rest in ports()}


def points(function, weights, paths, *args):
    watch = Watch(weights, frozenset(paths))
    return points_of(widened(jax.value_and_grad(watch.traced(function)))(*args).names), watch


@pytest.mark.parametrize("name", PORTS)
@pytest.mark.parametrize("jitted", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_what_layers_are_given_and_return_and_the_gradient(name, jitted):
    params, apply, prefix = PORTS[name]
    if jitted:
        apply = jax.jit(apply)
        apply(params, X)  # its program is kept, without points
    loss = lambda params, x: apply(params, x).sum()  # noqa: E731
    weights = map_weights(TORCH, params)
    found, _ = points(loss, weights, [f"{prefix}{i}" for i in range(2)], params, X)
    assert {(point.role, point.path) for point in found} == {
        (role, f"{prefix}{i}") for role in ("input", "forward", "backward") for i in range(2)
    }
    values = {(point.role, point.path[-1]): np.asarray(wide) for point, (_, wide) in found.items()}
    np.testing.assert_allclose(values["input", "1"], np.tanh(values["forward", "0"]), rtol=1e-12)
    np.testing.assert_allclose(values["forward", "1"], apply(params, X), rtol=1e-5)
    assert (values["backward", "1"] == 1).all()


def test_classes_have_their_own_methods_again_and_a_loop_names_its_first_calls():
    own = nnx.Linear.__call__
    params, _, _ = PORTS["nnx"]
    graph = nnx.graphdef(OfNnx())

    def loss(params, x):
        model = nnx.merge(graph, params)
        y = sum(model.layers[0](x) for _ in range(CALLS + 2))
        return jax.lax.scan(lambda total, _: (total + model.layers[1](y).sum(), None), 0.0, length=2)[0]

    weights = map_weights(TORCH, params)
    found, watch = points(loss, weights, ["layers/0", "layers/1"], params, X)
    assert {point.call for point in found if point.path == "layers/0"} == set(range(CALLS))
    assert Point("backward", "layers/1") not in found  # it is within the loop, where nothing is seen
    assert Point("backward", "layers/1") in watch.differentiated.points
    assert nnx.Linear.__call__ is own


def test_a_function_with_forward_derivatives_is_traced_without_points():
    params, apply, _ = PORTS["nnx"]

    def loss(params, x):
        return (jax.jacfwd(lambda x: apply(params, x).sum())(x) ** 2).sum()

    watch = Watch(map_weights(TORCH, params), frozenset({"layers/0"}))
    with_points, without = (widened(jax.value_and_grad(f))(params, X).wide for f in (watch.traced(loss), loss))
    assert all(map(np.array_equal, jax.tree.leaves(with_points), jax.tree.leaves(without)))
    assert "forward-mode" in watch.failure


def test_layers_that_a_port_names_itself():
    twin = {f"forward/{i}": np.zeros(2) for i in range(2)}
    layers = named_layers({"0": "Linear", "1": "ReLU"}, twin, [])
    assert unmatched_note(layers) == ["Layers that the port does not name: 0, 1."]
    assert beside_words(layers, "forward", "0") == ""
