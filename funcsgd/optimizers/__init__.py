"""torch's optimizers, a file for each, under torch's file names; and parameter groups for any of them.

Two of torch's are left out: SparseAdam, because it is about sparse gradients, of which JAX's transformations have none;
and LBFGS, because it is no update rule: it calls the loss several times within a step. Write its line search with
``jax.lax.while_loop``, or take ``optax.lbfgs``, which is another algorithm under that name.
"""

from funcsgd.optimizers.adadelta import AdadeltaState as AdadeltaState
from funcsgd.optimizers.adadelta import adadelta as adadelta
from funcsgd.optimizers.adagrad import AdagradState as AdagradState
from funcsgd.optimizers.adagrad import adagrad as adagrad
from funcsgd.optimizers.adam import AdamState as AdamState
from funcsgd.optimizers.adam import adam as adam
from funcsgd.optimizers.adamax import AdamaxState as AdamaxState
from funcsgd.optimizers.adamax import adamax as adamax
from funcsgd.optimizers.adamw import adamw as adamw
from funcsgd.optimizers.asgd import ASGDState as ASGDState
from funcsgd.optimizers.asgd import asgd as asgd
from funcsgd.optimizers.nadam import NAdamState as NAdamState
from funcsgd.optimizers.nadam import nadam as nadam
from funcsgd.optimizers.parameter_groups import ParameterGroups as ParameterGroups
from funcsgd.optimizers.parameter_groups import from_groups as from_groups
from funcsgd.optimizers.radam import RAdamState as RAdamState
from funcsgd.optimizers.radam import radam as radam
from funcsgd.optimizers.rmsprop import RMSpropState as RMSpropState
from funcsgd.optimizers.rmsprop import rmsprop as rmsprop
from funcsgd.optimizers.rprop import RpropState as RpropState
from funcsgd.optimizers.rprop import rprop as rprop
from funcsgd.optimizers.sgd import sgd as sgd

__all__ = [
    "ASGDState",
    "AdadeltaState",
    "AdagradState",
    "AdamState",
    "AdamaxState",
    "NAdamState",
    "ParameterGroups",
    "RAdamState",
    "RMSpropState",
    "RpropState",
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "asgd",
    "from_groups",
    "nadam",
    "radam",
    "rmsprop",
    "rprop",
    "sgd",
]
