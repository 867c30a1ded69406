"""torch's initial weights without torch: each layer's tensors, drawn in the order in which its constructor draws.

Example:
    >>> from torch_bridge import init, random
    >>> _ = random.manual_seed(0)
    >>> model = init.sequential(init.conv2d(1, 4, 3), init.batch_norm(4), {}, init.linear(16, 10))
    >>> list(model)[:3]  # of torch.manual_seed(0); Sequential(Conv2d(1, 4, 3), BatchNorm2d(4), ReLU(), Linear(16, 10))
    ['0.weight', '0.bias', '1.weight']
"""

from torch_bridge.init.attention import copied_layers as copied_layers
from torch_bridge.init.attention import multihead_attention as multihead_attention
from torch_bridge.init.attention import transformer as transformer
from torch_bridge.init.attention import transformer_decoder_layer as transformer_decoder_layer
from torch_bridge.init.attention import transformer_encoder_layer as transformer_encoder_layer
from torch_bridge.init.fan import calculate_gain as calculate_gain
from torch_bridge.init.fan import fan_in_and_fan_out as fan_in_and_fan_out
from torch_bridge.init.fan import kaiming_normal as kaiming_normal
from torch_bridge.init.fan import kaiming_uniform as kaiming_uniform
from torch_bridge.init.fan import xavier_normal as xavier_normal
from torch_bridge.init.fan import xavier_uniform as xavier_uniform
from torch_bridge.init.fill import constant as constant
from torch_bridge.init.fill import dirac as dirac
from torch_bridge.init.fill import eye as eye
from torch_bridge.init.fill import normal as normal
from torch_bridge.init.fill import ones as ones
from torch_bridge.init.fill import orthogonal as orthogonal
from torch_bridge.init.fill import sparse as sparse
from torch_bridge.init.fill import trunc_normal as trunc_normal
from torch_bridge.init.fill import uniform as uniform
from torch_bridge.init.fill import zeros as zeros
from torch_bridge.init.layers import batch_norm as batch_norm
from torch_bridge.init.layers import bilinear as bilinear
from torch_bridge.init.layers import conv as conv
from torch_bridge.init.layers import conv1d as conv1d
from torch_bridge.init.layers import conv2d as conv2d
from torch_bridge.init.layers import conv3d as conv3d
from torch_bridge.init.layers import embedding as embedding
from torch_bridge.init.layers import group_norm as group_norm
from torch_bridge.init.layers import layer_norm as layer_norm
from torch_bridge.init.layers import linear as linear
from torch_bridge.init.layers import sequential as sequential
from torch_bridge.init.layers import under as under
from torch_bridge.init.recurrent import cell as cell
from torch_bridge.init.recurrent import gru as gru
from torch_bridge.init.recurrent import lstm as lstm
from torch_bridge.init.recurrent import rnn as rnn

__all__ = [
    "batch_norm",
    "bilinear",
    "calculate_gain",
    "cell",
    "constant",
    "conv",
    "conv1d",
    "conv2d",
    "conv3d",
    "copied_layers",
    "dirac",
    "embedding",
    "eye",
    "fan_in_and_fan_out",
    "group_norm",
    "gru",
    "kaiming_normal",
    "kaiming_uniform",
    "layer_norm",
    "linear",
    "lstm",
    "multihead_attention",
    "normal",
    "ones",
    "orthogonal",
    "rnn",
    "sequential",
    "sparse",
    "transformer",
    "transformer_decoder_layer",
    "transformer_encoder_layer",
    "trunc_normal",
    "under",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
