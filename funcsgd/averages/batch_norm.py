"""The statistics of BatchNorm layers, brought up to date for averaged parameters."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from flax import nnx


def update_bn(loader: Iterable[Any], model: "nnx.Module") -> None:
    """Recompute the running mean and variance of every ``nnx.BatchNorm`` in one pass over the data.

    Equation, for the ``k``-th batch, counted from 1, with ``n`` values for each feature::

        mean = mean + (batch_mean - mean) / k
        var  = var + (batch_var * n / (n - 1) - var) / k         unbiased; flax itself keeps the biased one

    The averaged parameters of a run have never seen the data: the statistics that BatchNorm gathered belong to other
    parameters. The model runs in training mode, dropout and its random numbers included, and is in the mode in which
    it was when the pass is over.

    Args:
        loader: batches; arrays, or lists or tuples whose first element is an array and the only one that is used.
            Not used where the model has no BatchNorm.
        model: called as ``model(batch)``; its statistics are replaced. Batches of one shape compile once.

    Raises:
        ValueError: a layer receives a single value for each feature, with torch's message.
        ModuleNotFoundError: flax is not installed.

    Exactness: `rounding`.

    Source: ``torch/optim/swa_utils.py``, ``update_bn``, torch 2.13.0; ``torch/nn/modules/batchnorm.py`` for
    ``momentum=None``.

    Differs from torch in: (1) masks given to a layer are not counted; (2) no ``device``.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = nnx.BatchNorm(1, rngs=nnx.Rngs(0))
        >>> update_bn([jnp.array([[0.0], [2.0]]), jnp.array([[4.0], [4.0]])], layer)
        >>> layer.mean[...], layer.var[...]  # (1 + 4) / 2, (2 + 0) / 2
        (Array([2.5], dtype=float32), Array([1.], dtype=float32))
    """
    from flax import nnx

    if not _batch_norms(model):
        return
    graph, state = nnx.split(model)

    @jax.jit
    def one_batch(state: Any, statistics: Any, batch: jax.Array) -> tuple[Any, Any]:
        copy = nnx.merge(graph, state)
        copy.train()  # type: ignore[no-untyped-call]
        followers = [_Follower(layer, *old) for layer, old in zip(_batch_norms(copy), statistics, strict=True)]
        copy(batch)
        return nnx.state(copy), [follower.statistics() for follower in followers]

    statistics = [
        (jnp.zeros((), jnp.int32), jnp.zeros_like(layer.mean[...]), jnp.ones_like(layer.var[...]))
        for layer in _batch_norms(model)
    ]
    for batch in loader:
        batch = batch[0] if isinstance(batch, list | tuple) else batch
        state, statistics = one_batch(state, statistics, jnp.asarray(batch))
    nnx.update(model, state)
    for layer, (_, mean, var) in zip(_batch_norms(model), statistics, strict=True):
        layer.mean[...], layer.var[...] = mean, var


class _Follower:
    """Averages what a layer leaves in its statistics, call by call, because a layer may be called twice in a model."""

    def __init__(self, layer: Any, count: jax.Array, mean: jax.Array, var: jax.Array) -> None:
        self.layer, self.count, self.mean, self.var = layer, count, mean, var
        self.n: int | None = None  # values for each feature in the call that is not averaged yet
        # momentum 0 leaves the batch's own statistics, if the old are finite; torch computes the accurate variance.
        layer.mean[...], layer.var[...] = mean, var
        layer.momentum, layer.use_fast_variance = 0.0, False
        self.promote: Callable[..., Any] = layer.promote_dtype
        layer.promote_dtype = self.look  # the one function of the layer's own that is shown its input

    def look(self, arrays: Any, **options: Any) -> Any:
        self.take()
        shape = arrays[0].shape
        self.n = arrays[0].size // self.layer.num_features
        if self.n == 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {shape}")
        return self.promote(arrays, **options)

    def take(self) -> None:
        if self.n is None:
            return
        self.count = self.count + 1
        k = self.count.astype(self.mean.dtype)
        self.mean = self.mean + (self.layer.mean[...] - self.mean) / k
        self.var = self.var + (self.layer.var[...] * (self.n / (self.n - 1)) - self.var) / k
        self.n = None

    def statistics(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        self.take()
        return self.count, self.mean, self.var


def _batch_norms(model: "nnx.Module") -> list[Any]:
    from flax import nnx

    return [node for _, node in nnx.iter_graph(model) if isinstance(node, nnx.BatchNorm)]
