"""torch's optimizers, an adapter for each, under torch's file names: all of this package that is specific to one."""

from torch_bridge.translate.optimizers.adapter import Adapter as Adapter
from torch_bridge.translate.optimizers.adapter import Nearest as Nearest
from torch_bridge.translate.optimizers.adapter import Number as Number
from torch_bridge.translate.optimizers.adapter import learning_rate_of as learning_rate_of
from torch_bridge.translate.optimizers.adapter import momentum_of as momentum_of
from torch_bridge.translate.optimizers.adapter import with_numbers as with_numbers
from torch_bridge.translate.optimizers.registry import adapter_named as adapter_named
from torch_bridge.translate.optimizers.registry import adapter_of as adapter_of
from torch_bridge.translate.optimizers.registry import register as register
from torch_bridge.translate.optimizers.registry import registered as registered
from torch_bridge.translate.optimizers.registry import rule_of as rule_of
