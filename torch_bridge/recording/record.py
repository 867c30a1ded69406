"""A PyTorch run -> Trace, through hooks; no bit of the run changes."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch_bridge.recording.recorder import Recorder
from torch_bridge.recording.twins import Twins
from torch_bridge.trace.keep import Keep

if TYPE_CHECKING:
    import torch
    from torch.optim.lr_scheduler import LRScheduler


def record(
    model: "torch.nn.Module",
    optimizer: "torch.optim.Optimizer",
    *,
    criterion: "torch.nn.Module | None" = None,
    loader: "torch.utils.data.DataLoader[Any] | None" = None,
    scheduler: "LRScheduler | Sequence[LRScheduler] | None" = None,
    average: "torch.optim.swa_utils.AveragedModel | None" = None,
    clip: bool | Mapping[str, Any] = False,
    steps_per_epoch: int = 1,
    keep: Keep | None = None,
    path: str | os.PathLike[str] | None = None,
    twins: Twins | bool = True,
) -> "Recorder":
    """Watch a PyTorch run; a second line, ``recorder.trace()`` or ``recorder.save(path)``, gives its trace.

    Every ``optimizer.step()`` becomes one step of the trace: the loss that was differentiated (of several backward
    passes the sum), gradients as the optimizer uses them, what it computes of them and keeps (gradients after weight
    decay, momentum buffers, averages), its hyperparameters in force, parameters. At chosen steps the loss and its
    gradients are evaluated in float64 as well, from the same batch, parameters, buffers and dropout masks, see
    `Trace.twins`; that costs one more forward and backward pass of such a step.

    Args:
        model: its ``named_parameters()`` name the parameters, unless the optimizer has names of its own.
        optimizer: any torch optimizer; of a class without an adapter (see `torch_bridge.translate.optimizers`) the
            tensors of its state are recorded under torch's keys.
        criterion: the loss module, for a loss that is not differentiated by torch's backward pass. Otherwise not
            needed.
        loader: the training DataLoader, to record which examples each step used; or `Recorder.log`. Look-ahead loops
            and gradient accumulation are understood, see `Batches`.
        scheduler: the optimizer's, or several, for ``torch-bridge explain`` and the trace's header; one that has no
            equivalent here is named there. None finds those that are stepped during the recording, and the steps
            between. Learning rates are recorded either way.
        average: an ``AveragedModel`` of the model, to record its parameters after each ``update_parameters``; None
            finds the one that is updated during the recording.
        clip: the script changes gradients between ``backward()`` and ``step()`` by something else than
            ``clip_grad_norm_`` and ``clip_grad_value_``, whose calls are recorded: record the gradients before and
            after, as the phases gradient and clip. Otherwise the gradients are those that the optimizer uses. In place
            of True, the arguments of a ``clip_grad_value_`` that the script had imported by its name before, such as
            ``{"clip_value": 0.5}``.
        steps_per_epoch: how many ``optimizer.step()`` lie between two ``scheduler.step()``, for the header.
        keep: what is kept of each step, see `Keep`; None keeps every tensor.
        path: a file to write the trace to as the run goes, in memory that does not grow with the run. It appears with
            the first step, in place of one of that name; if the process is killed, it holds the steps that were
            written, all but the latest. `Recorder.close` ends it, or the end of the process. None keeps the trace in
            memory, for `Recorder.trace` and `Recorder.save`.
        twins: the steps that are evaluated in float64 as well; True takes `Twins()`, False none.

    Returns:
        A `Recorder`; usable in a ``with`` statement, which removes the hooks at its end.

    Raises:
        TypeError: ``optimizer`` is no optimizer.
        OSError: ``path`` cannot be written.
        ValueError: the optimizer has a parameter that the model lacks, or an argument is out of range.

    Exactness: recording changes no bit of the run: it reads, and copies. After this call it raises nothing into the
    run: what it cannot record it reports once, in a warning, and under ``"not_recorded"`` in the header.

    Example::

        recorder = torch_bridge.record(model, optimizer, criterion=criterion, loader=loader)
        train(model, optimizer)                      # the script as it was
        recorder.save("run.trace")

        with torch_bridge.record(model, optimizer, path="long.trace", keep=Keep("digest", every=1000)):
            train(model, optimizer)
    """
    return Recorder(
        model,
        optimizer,
        criterion=criterion,
        loader=loader,
        scheduler=scheduler,
        average=average,
        clip=clip,
        steps_per_epoch=steps_per_epoch,
        keep=keep,
        path=path,
        twins=twins,
    )
