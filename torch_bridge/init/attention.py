"""The tensors of ``torch.nn.MultiheadAttention`` and of the Transformer built from it.

Exactness: bitwise.

Source: ``torch/nn/modules/activation.py`` and ``transformer.py``, torch 2.13.0.
"""

import numpy as np
from numpy.typing import DTypeLike

from torch_bridge.init.fan import xavier_normal, xavier_uniform
from torch_bridge.init.fill import Source, zeros
from torch_bridge.init.layers import Tensors, layer_norm, linear, under


def multihead_attention(
    embed_dim: int,
    num_heads: int,
    bias: bool = True,
    add_bias_kv: bool = False,
    kdim: int | None = None,
    vdim: int | None = None,
    *,
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> Tensors:
    """``torch.nn.MultiheadAttention``: the output projection draws first, and its bias is drawn and then set to 0.

    Args:
        embed_dim: features.
        num_heads: heads; they change no weight, but must divide the features.
        bias: whether the projections have any.
        add_bias_kv: whether keys and values get a learned element each.
        kdim: features of the keys; `embed_dim` if not given.
        vdim: features of the values; likewise.
        generator: see `torch_bridge.init.linear`.
        dtype: of the tensors.

    Returns:
        ``in_proj_weight``, or ``q_proj_weight``, ``k_proj_weight`` and ``v_proj_weight`` where the features differ,
        ``in_proj_bias``, ``bias_k``, ``bias_v``, ``out_proj.weight`` and ``out_proj.bias``, as far as chosen.

    Raises:
        ValueError: sizes below 1, with torch's message.
        AssertionError: heads that do not divide the features, likewise.
    """
    if embed_dim <= 0 or num_heads <= 0:
        raise ValueError(
            f"embed_dim and num_heads must be greater than 0, "
            f"got embed_dim={embed_dim} and num_heads={num_heads} instead"
        )
    if embed_dim % num_heads:
        raise AssertionError("embed_dim must be divisible by num_heads")
    kdim = embed_dim if kdim is None else kdim
    vdim = embed_dim if vdim is None else vdim
    out_proj = under("out_proj", linear(embed_dim, embed_dim, bias, generator=generator, dtype=dtype))
    if kdim == vdim == embed_dim:
        shapes = {"in_proj_weight": (3 * embed_dim, embed_dim)}
    else:
        features = {"q": embed_dim, "k": kdim, "v": vdim}
        shapes = {f"{name}_proj_weight": (embed_dim, size) for name, size in features.items()}
    tensors = {name: xavier_uniform(shape, generator=generator, dtype=dtype) for name, shape in shapes.items()}
    if bias:
        tensors["in_proj_bias"] = zeros((3 * embed_dim,), dtype)
        out_proj["out_proj.bias"] = zeros((embed_dim,), dtype)
    if add_bias_kv:
        for name in ("bias_k", "bias_v"):
            tensors[name] = xavier_normal((1, 1, embed_dim), generator=generator, dtype=dtype)
    return tensors | out_proj


def transformer_encoder_layer(
    d_model: int,
    nhead: int,
    dim_feedforward: int = 2048,
    bias: bool = True,
    *,
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> Tensors:
    """``torch.nn.TransformerEncoderLayer``: attention, two linear layers, two norms."""
    return _transformer_layer(("self_attn",), d_model, nhead, dim_feedforward, bias, generator, dtype)


def transformer_decoder_layer(
    d_model: int,
    nhead: int,
    dim_feedforward: int = 2048,
    bias: bool = True,
    *,
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> Tensors:
    """``torch.nn.TransformerDecoderLayer``: two attentions, two linear layers, three norms."""
    return _transformer_layer(("self_attn", "multihead_attn"), d_model, nhead, dim_feedforward, bias, generator, dtype)


def copied_layers(layer: Tensors, num_layers: int, norm: Tensors | None = None) -> Tensors:
    """``torch.nn.TransformerEncoder`` and ``TransformerDecoder``: copies of one layer, with equal weights.

    Args:
        layer: of `transformer_encoder_layer` or `transformer_decoder_layer`; the copies draw nothing.
        num_layers: copies.
        norm: of the norm after them.
    """
    tensors: Tensors = {}
    for i in range(num_layers):
        tensors |= under(f"layers.{i}", {name: value.copy() for name, value in layer.items()})
    return tensors | under("norm", norm or {})


def transformer(
    d_model: int = 512,
    nhead: int = 8,
    num_encoder_layers: int = 6,
    num_decoder_layers: int = 6,
    dim_feedforward: int = 2048,
    bias: bool = True,
    *,
    generator: Source | None = None,
    dtype: DTypeLike = np.float32,
) -> Tensors:
    """``torch.nn.Transformer``: both stacks are drawn as their layers are, then every matrix again, by Xavier's rule.

    Args:
        d_model: features.
        nhead: heads.
        num_encoder_layers: layers of the encoder.
        num_decoder_layers: layers of the decoder.
        dim_feedforward: features between the two linear layers.
        bias: whether there are any.
        generator: see `torch_bridge.init.linear`.
        dtype: of the tensors.
    """
    tensors: Tensors = {}
    for name, layer, count in (
        ("encoder", transformer_encoder_layer, num_encoder_layers),
        ("decoder", transformer_decoder_layer, num_decoder_layers),
    ):
        drawn = layer(d_model, nhead, dim_feedforward, bias, generator=generator, dtype=dtype)
        tensors |= under(name, copied_layers(drawn, count, layer_norm(d_model, bias=bias, dtype=dtype)))
    return {
        name: xavier_uniform(value.shape, generator=generator, dtype=dtype) if value.ndim > 1 else value
        for name, value in tensors.items()
    }


def _transformer_layer(
    attentions: tuple[str, ...],
    d_model: int,
    nhead: int,
    dim_feedforward: int,
    bias: bool,
    generator: Source | None,
    dtype: DTypeLike,
) -> Tensors:
    tensors: Tensors = {}
    for name in attentions:
        tensors |= under(name, multihead_attention(d_model, nhead, bias, generator=generator, dtype=dtype))
    tensors |= under("linear1", linear(d_model, dim_feedforward, bias, generator=generator, dtype=dtype))
    tensors |= under("linear2", linear(dim_feedforward, d_model, bias, generator=generator, dtype=dtype))
    for i in range(len(attentions) + 1):
        tensors |= under(f"norm{i + 1}", layer_norm(d_model, bias=bias, dtype=dtype))
    return tensors
