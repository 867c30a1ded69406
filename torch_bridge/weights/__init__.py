"""Weights of any model: which torch tensor is which leaf of a JAX port, and the way there and back."""

from torch_bridge.weights.mapping import map_weights as map_weights
from torch_bridge.weights.result import Weights as Weights
from torch_bridge.weights.result import require_same_training as require_same_training
from torch_bridge.weights.result import same_weights as same_weights
