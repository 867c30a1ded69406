"""A flax nnx model with the weights that the same architecture gets in torch after ``manual_seed(seed)``."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from torch_bridge.init.attention import multihead_attention
from torch_bridge.init.layers import conv, embedding, linear
from torch_bridge.init.recurrent import cell
from torch_bridge.random import Generator

Model = TypeVar("Model", bound=nnx.Module)
Assignments = list[tuple[Any, NDArray[Any]]]  # a variable of the model, and what it becomes


def like_torch(model: Model, seed: int | Generator) -> Model:
    """Give every layer of a model the weights that torch's constructor would have drawn for it.

    Layers draw in the order in which the model's attributes were first assigned, depth first, which is the order in
    which a torch module written alike constructs them. Layouts are flax's: a linear kernel is the transposed weight,
    a convolution's has its channels last, a transposed convolution's is turned round as well unless its
    ``transpose_kernel`` does that.

    Known are ``nnx.Linear``, ``Conv``, ``ConvTranspose``, ``Embed``, ``MultiHeadAttention``, ``LSTMCell``,
    ``OptimizedLSTMCell`` and ``SimpleCell`` (torch's ``LSTM`` and ``RNN``, whose two biases flax adds up in one), and
    ``BatchNorm``, ``LayerNorm``, ``GroupNorm`` and ``RMSNorm``, which start from ones and zeros without a draw.
    Modules that hold them, such as ``nnx.RNN``, and layers without weights, pass.

    Args:
        model: is changed in place.
        seed: as for ``torch.manual_seed``; or a generator, to draw on.

    Returns:
        The same model.

    Raises:
        ValueError: the model holds a weight that no torch layer known here has, or lacks one that torch's has, as
            ``nnx.GRUCell`` does; its path is named.

    Exactness: bitwise, up to the layout; of two biases, their rounded sum. float16 and bfloat16 parameters are drawn in
    their dtype.

    Example:
        >>> from flax import nnx
        >>> model = like_torch(nnx.Linear(2, 1, rngs=nnx.Rngs(0)), seed=0)
        >>> model.kernel[...]  # torch.manual_seed(0); torch.nn.Linear(2, 1).weight.T
        Array([[-0.00529398],
               [ 0.3793229 ]], dtype=float32)
    """
    generator = seed if isinstance(seed, Generator) else Generator(seed)
    drawn: Assignments = []  # applied at the end, so that a refused model is left as it was
    for path, module in _modules(model, "model", set()):
        layer = next((draw for kind, draw in LAYERS.items() if isinstance(module, kind)), None)
        if layer is not None:
            drawn += layer(path, module, generator)
            continue
        for name, value in vars(module).items():
            if isinstance(value, nnx.Param):
                raise ValueError(f"{path}.{name}: torch has no layer like {type(module).__name__} to draw it")
    for variable, value in drawn:
        variable[...] = jnp.asarray(value, variable.dtype)
    return model


def _modules(node: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Walk over modules in the order of their construction; known layers are not entered, shared ones come once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, nnx.Module):
        yield path, node
        if not isinstance(node, tuple(LAYERS)):
            for name, value in vars(node).items():
                yield from _modules(value, f"{path}.{name}", seen)
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from _modules(value, f"{path}[{i}]", seen)
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from _modules(value, f"{path}[{name!r}]", seen)


def _linear(path: str, layer: Any, generator: Generator) -> Assignments:
    dtype = layer.kernel.dtype
    tensors = linear(layer.in_features, layer.out_features, layer.use_bias, generator=generator, dtype=dtype)
    return [(layer.kernel, tensors["weight"].T), *_bias(layer, tensors)]


def _conv(path: str, layer: Any, generator: Generator) -> Assignments:
    *kernel_size, _, out_channels = layer.kernel.shape
    tensors = conv(
        layer.in_features,
        out_channels,
        kernel_size,
        layer.feature_group_count,
        layer.use_bias,
        generator=generator,
        dtype=layer.kernel.dtype,
    )
    return [(layer.kernel, np.moveaxis(tensors["weight"], (1, 0), (-2, -1))), *_bias(layer, tensors)]


def _conv_transpose(path: str, layer: Any, generator: Generator) -> Assignments:
    tensors = conv(
        layer.in_features,
        layer.out_features,
        layer.kernel_size,
        bias=layer.use_bias,
        transposed=True,
        generator=generator,
        dtype=layer.kernel.dtype,
    )
    kernel = np.moveaxis(tensors["weight"], (0, 1), (-2, -1))
    turned = kernel.swapaxes(-2, -1) if layer.transpose_kernel else np.flip(kernel, tuple(range(kernel.ndim - 2)))
    return [(layer.kernel, turned), *_bias(layer, tensors)]


def _bias(layer: Any, tensors: dict[str, NDArray[Any]]) -> Assignments:
    return [(layer.bias, tensors["bias"])] if layer.use_bias else []


def _embed(path: str, layer: Any, generator: Generator) -> Assignments:
    variable = layer.embedding
    return [(variable, embedding(*variable.shape, generator=generator, dtype=variable.dtype)["weight"])]


def _attention(path: str, layer: Any, generator: Generator) -> Assignments:
    features = layer.in_features
    if {layer.qkv_features, layer.out_features, layer.in_kv_features} != {features} or layer.normalize_qk:
        raise ValueError(f"{path}: torch's attention has as many features in as out, and does not normalise them")
    heads, width = layer.num_heads, layer.head_dim
    tensors = multihead_attention(features, heads, layer.use_bias, generator=generator, dtype=layer.query.kernel.dtype)
    out = layer.out
    assignments: Assignments = [(out.kernel, tensors["out_proj.weight"].T.reshape(heads, width, features))]
    if layer.use_bias:
        assignments.append((out.bias, tensors["out_proj.bias"]))
    for i, projection in enumerate((layer.query, layer.key, layer.value)):
        rows = slice(i * features, (i + 1) * features)
        assignments.append((projection.kernel, tensors["in_proj_weight"][rows].T.reshape(features, heads, width)))
        if layer.use_bias:
            assignments.append((projection.bias, tensors["in_proj_bias"][rows].reshape(heads, width)))
    return assignments


def _cell(gates: int, layer: Any, dtype: Any, generator: Generator) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The kernels of input and state, gates side by side, and the one bias that flax has for torch's two."""
    tensors = cell(gates, layer.in_features, layer.hidden_features, generator=generator, dtype=dtype)
    return tensors["weight_ih"].T, tensors["weight_hh"].T, tensors["bias_ih"] + tensors["bias_hh"]


def _lstm(path: str, layer: Any, generator: Generator) -> Assignments:
    tensors = _cell(4, layer, layer.ii.kernel.dtype, generator)
    inputs, states = (layer.ii, layer.if_, layer.ig, layer.io), (layer.hi, layer.hf, layer.hg, layer.ho)
    variables = [i.kernel for i in inputs], [h.kernel for h in states], [h.bias for h in states]
    parts = [np.split(tensor, 4, axis=-1) for tensor in tensors]
    return [pair for column in zip(variables, parts, strict=True) for pair in zip(*column, strict=True)]


def _optimized_lstm(path: str, layer: Any, generator: Generator) -> Assignments:
    variables = layer.dense_i.kernel, layer.dense_h.kernel, layer.dense_h.bias
    return list(zip(variables, _cell(4, layer, layer.dense_i.kernel.dtype, generator), strict=True))


def _simple_cell(path: str, layer: Any, generator: Generator) -> Assignments:
    if layer.residual:
        raise ValueError(f"{path}: torch's RNN adds no residual")
    variables = layer.dense_i.kernel, layer.dense_h.kernel, layer.dense_i.bias
    return list(zip(variables, _cell(1, layer, layer.dense_i.kernel.dtype, generator), strict=True))


def _gru(path: str, layer: Any, generator: Generator) -> Assignments:
    raise ValueError(
        f"{path}: torch's GRU adds a bias to the state's part of the new gate, before the reset gate scales it; "
        "nnx.GRUCell has none there, so it cannot start where torch's does"
    )


def _norm(path: str, layer: Any, generator: Generator) -> Assignments:
    """Set what a norm has of a scale and a variance to ones, of a bias and a mean to zeros."""
    starts = {"scale": 1, "var": 1, "bias": 0, "mean": 0}
    variables = {name: getattr(layer, name, None) for name in starts}
    return [
        (variable, np.full(variable.shape, starts[name], np.float32))
        for name, variable in variables.items()
        if isinstance(variable, nnx.Variable) and variable.get_value() is not None
    ]


LAYERS: dict[type, Callable[[str, Any, Generator], Assignments]] = {
    nnx.Linear: _linear,
    nnx.Conv: _conv,
    nnx.ConvTranspose: _conv_transpose,
    nnx.Embed: _embed,
    nnx.MultiHeadAttention: _attention,
    nnx.LSTMCell: _lstm,
    nnx.OptimizedLSTMCell: _optimized_lstm,
    nnx.SimpleCell: _simple_cell,
    nnx.GRUCell: _gru,
    nnx.BatchNorm: _norm,
    nnx.LayerNorm: _norm,
    nnx.GroupNorm: _norm,
    nnx.RMSNorm: _norm,
}
