"""What a run carries from update to update, and the quantities of each update and epoch."""

from typing import Any, NamedTuple

import jax


class TrainingState(NamedTuple):
    """Everything that a run needs to go on: give it to `train` in place of the parameters. Save it as any tree.

    Attributes:
        params: the parameters.
        opt_state: the optimizer's state; averages of the parameters are in it (`averaged_params`).
        model_state: what else the model keeps, such as BatchNorm's statistics; None for most.
        step: int32 scalar, the number of updates made.
        key: what this epoch's order is drawn from; ``()`` for index arrays.
        metric: floating scalar, the metric of the epoch before; 0 before the first.
        losses: floating, shape ``(steps in an epoch,)``: those of this epoch so far, then zeros.
    """

    params: Any
    opt_state: Any
    model_state: Any
    step: jax.Array
    key: Any
    metric: jax.Array
    losses: jax.Array


class Step(NamedTuple):
    """The quantities of an update, for `train`'s ``record``; those that it does not use cost nothing.

    Attributes:
        loss: of the batch, before the update.
        aux: the loss function's other output; None without ``has_aux``.
        grads: gradient of ``loss``.
        updates: what was added to the parameters.
        params: after the update.
        opt_state: after the update.
        model_state: after the update; None without one.
    """

    loss: jax.Array
    aux: Any
    grads: Any
    updates: Any
    params: Any
    opt_state: Any
    model_state: Any


class Epoch(NamedTuple):
    """The quantities of an epoch: for `train`'s ``metric``, and stacked in its history.

    Attributes:
        loss: mean of the losses of its updates, each weighted with the size of its batch.
        evaluation: ``evaluate(params, validation)`` at its end; None if there is nothing to evaluate.
        averaged: the same for the average of the parameters; None if the optimizer keeps none, a list if several.
    """

    loss: jax.Array
    evaluation: Any
    averaged: Any
