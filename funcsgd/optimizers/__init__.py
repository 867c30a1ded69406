"""torch's optimizers, a file for each, under torch's file names."""

from funcsgd.optimizers.adam import AdamState as AdamState
from funcsgd.optimizers.adam import adam as adam
from funcsgd.optimizers.adamw import adamw as adamw
from funcsgd.optimizers.sgd import sgd as sgd
