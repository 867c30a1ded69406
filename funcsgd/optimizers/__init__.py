"""torch's optimizers, a file for each, under torch's file names; and parameter groups for any of them."""

from funcsgd.optimizers.adam import AdamState as AdamState
from funcsgd.optimizers.adam import adam as adam
from funcsgd.optimizers.adamw import adamw as adamw
from funcsgd.optimizers.parameter_groups import ParameterGroups as ParameterGroups
from funcsgd.optimizers.parameter_groups import from_groups as from_groups
from funcsgd.optimizers.rmsprop import RMSpropState as RMSpropState
from funcsgd.optimizers.rmsprop import rmsprop as rmsprop
from funcsgd.optimizers.sgd import sgd as sgd

__all__ = [
    "AdamState",
    "ParameterGroups",
    "RMSpropState",
    "adam",
    "adamw",
    "from_groups",
    "rmsprop",
    "sgd",
]
