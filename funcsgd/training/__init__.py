"""Whole runs compiled into one program, and many of them side by side."""

from funcsgd.training.batches import BatchOrder as BatchOrder
from funcsgd.training.batches import batch_order as batch_order
from funcsgd.training.pieces import train_batches as train_batches
from funcsgd.training.progress import progress_bar as progress_bar
from funcsgd.training.run import History as History
from funcsgd.training.run import Run as Run
from funcsgd.training.run import train as train
from funcsgd.training.state import Epoch as Epoch
from funcsgd.training.state import Step as Step
from funcsgd.training.state import TrainingState as TrainingState
from funcsgd.training.sweep import grid as grid
from funcsgd.training.sweep import sweep as sweep

__all__ = [
    "BatchOrder",
    "Epoch",
    "History",
    "Run",
    "Step",
    "TrainingState",
    "batch_order",
    "grid",
    "progress_bar",
    "sweep",
    "train",
    "train_batches",
]
