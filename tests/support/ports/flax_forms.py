"""The perceptron and the convolutions once more, as flax users write them: linen and nnx.

How parameters map: ``kernel`` of a linear layer is torch's ``weight`` with its axes exchanged, ``(in, out)``; of a
convolution it is ``(height, width, in, out)``, torch's ``(out, in, height, width)`` with axes ``(2, 3, 1, 0)``;
``scale`` of a norm is torch's ``weight``. linen counts the layers of a class (``Conv_0``, ``BatchNorm_0``), nnx uses
the attributes and the places in the list. Images are ``(batch, height, width, channels)``. Flax takes a variance as
``E[x^2] - E[x]^2`` unless ``use_fast_variance=False`` is written, and few write it.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from flax import linen, nnx

from tests.support.ports.common import Batch, Params

Place = tuple[tuple[Any, ...], tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class FlaxForm:
    """A loss function of flax's own tree, and the way there and back.

    ``places`` maps torch's name to the path in flax's tree and to the axes of torch's array in flax's order.
    """

    loss_fn: Callable[[Any, Batch], jax.Array]
    places: Mapping[str, Place]

    def to_flax(self, params: Params) -> Any:
        """Torch's parameters as flax's tree."""
        tree: dict[Any, Any] = {}
        for name, (path, axes) in self.places.items():
            node = tree
            for key in path[:-1]:
                node = node.setdefault(key, {})
            node[path[-1]] = params[name].transpose(axes)
        return tree

    def to_torch(self, tree: Any) -> dict[str, jax.Array]:
        """Flax's tree, of parameters or of gradients, under torch's names in torch's layout."""
        out = {}
        for name, (path, axes) in self.places.items():
            array = functools.reduce(lambda node, key: node[key], path, tree)
            out[name] = array.transpose([axes.index(i) for i in range(len(axes))])
        return out


def cross_entropy(logits: jax.Array, target: jax.Array) -> jax.Array:
    """As optax users write it."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, target).mean()


def linear_places(torch_name: int, path: tuple[Any, ...]) -> dict[str, Place]:
    """A linear layer's two arrays."""
    return {f"{torch_name}.weight": ((*path, "kernel"), (1, 0)), f"{torch_name}.bias": ((*path, "bias"), (0,))}


def norm_places(torch_name: int, path: tuple[Any, ...]) -> dict[str, Place]:
    """A norm's two arrays."""
    return {f"{torch_name}.weight": ((*path, "scale"), (0,)), f"{torch_name}.bias": ((*path, "bias"), (0,))}


class LinenPerceptron(linen.Module):
    """`width` three times, then five classes."""

    width: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(3):
            x = linen.relu(linen.Dense(self.width)(x))
        return linen.Dense(5)(x)


def linen_perceptron(width: int) -> FlaxForm:
    """The perceptron in linen."""
    model = LinenPerceptron(width)

    def loss_fn(params: Any, batch: Batch) -> jax.Array:
        return cross_entropy(model.apply({"params": params}, batch[0]), batch[1])

    places = {k: v for i in range(4) for k, v in linear_places(2 * i, (f"Dense_{i}",)).items()}
    return FlaxForm(loss_fn, places)


class LinenConvolutions(linen.Module):
    """Three convolutions with BatchNorm, mean, ten classes."""

    width: int
    fast: bool = True

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        norm = functools.partial(linen.BatchNorm, use_running_average=False, momentum=0.9, use_fast_variance=self.fast)
        x = norm()(x)
        for features, stride in ((self.width, 1), (2 * self.width, 2), (2 * self.width, 2)):
            x = linen.Conv(features, (3, 3), stride, padding=1, use_bias=False)(x)
            x = linen.relu(norm()(x))
        return linen.Dense(10)(x.mean((1, 2)))


def linen_convolutions(width: int, fast: bool = True) -> FlaxForm:
    """The convolutions in linen; `fast` is flax's default for variances."""
    model = LinenConvolutions(width, fast)

    def loss_fn(params: Any, batch: Batch) -> jax.Array:
        x, target = batch
        logits, _ = model.apply({"params": params}, x.transpose(0, 2, 3, 1), mutable=["batch_stats"])
        return cross_entropy(logits, target)

    places = norm_places(0, ("BatchNorm_0",)) | linear_places(12, ("Dense_0",))
    for i in range(3):
        places |= {f"{3 * i + 1}.weight": ((f"Conv_{i}", "kernel"), (2, 3, 1, 0))}
        places |= norm_places(3 * i + 2, (f"BatchNorm_{i + 1}",))
    return FlaxForm(loss_fn, places)


class NnxPerceptron(nnx.Module):
    """`width` three times, then five classes."""

    def __init__(self, width: int, rngs: nnx.Rngs):
        sizes = (20, width, width, width, 5)
        self.layers = nnx.List([nnx.Linear(a, b, rngs=rngs) for a, b in itertools.pairwise(sizes)])

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers[:-1]:
            x = nnx.relu(layer(x))
        return self.layers[-1](x)


def pure(model: nnx.Module, apply: Callable[[nnx.Module, Batch], jax.Array]) -> Callable[[Any, Batch], jax.Array]:
    """A function of the parameters alone; running statistics start anew at every call, in the parameters' type."""
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def loss_fn(tree: Any, batch: Batch) -> jax.Array:
        state = jax.tree.map(lambda x: x, params)
        nnx.replace_by_pure_dict(state, tree)
        dtype = jax.tree.leaves(tree)[0].dtype
        statistics = jax.tree.map(lambda x: x.astype(dtype), rest)
        return apply(nnx.merge(graph, state, statistics, copy=True), batch)

    return loss_fn


def nnx_perceptron(width: int) -> FlaxForm:
    """The perceptron in nnx."""
    model = NnxPerceptron(width, nnx.Rngs(0))
    places = {k: v for i in range(4) for k, v in linear_places(2 * i, ("layers", i)).items()}
    return FlaxForm(pure(model, lambda model, batch: cross_entropy(model(batch[0]), batch[1])), places)


class NnxConvolutions(nnx.Module):
    """Three convolutions with BatchNorm, mean, ten classes."""

    def __init__(self, width: int, fast: bool, rngs: nnx.Rngs):
        sizes = ((3, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 2))
        self.first = nnx.BatchNorm(3, use_fast_variance=fast, rngs=rngs)
        self.convs = nnx.List(
            [nnx.Conv(a, b, (3, 3), stride, padding=1, use_bias=False, rngs=rngs) for a, b, stride in sizes]
        )
        self.norms = nnx.List([nnx.BatchNorm(b, use_fast_variance=fast, rngs=rngs) for _, b, _ in sizes])
        self.head = nnx.Linear(2 * width, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.first(x)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = nnx.relu(norm(conv(x)))
        return self.head(x.mean((1, 2)))


def nnx_convolutions(width: int, fast: bool = True) -> FlaxForm:
    """The convolutions in nnx; `fast` is flax's default for variances."""
    model = NnxConvolutions(width, fast, nnx.Rngs(0))

    def apply(model: nnx.Module, batch: Batch) -> jax.Array:
        x, target = batch
        return cross_entropy(model(x.transpose(0, 2, 3, 1)), target)

    places = norm_places(0, ("first",)) | linear_places(12, ("head",))
    for i in range(3):
        places |= {f"{3 * i + 1}.weight": (("convs", i, "kernel"), (2, 3, 1, 0))} | norm_places(3 * i + 2, ("norms", i))
    return FlaxForm(pure(model, apply), places)


FLAX_FORMS: dict[str, tuple[str, Callable[..., FlaxForm]]] = {
    "linen perceptron": ("perceptron", linen_perceptron),
    "nnx perceptron": ("perceptron", nnx_perceptron),
    "linen convolutions": ("convolutions", linen_convolutions),
    "nnx convolutions": ("convolutions", nnx_convolutions),
}
