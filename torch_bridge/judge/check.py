"""One diagnosis of a port: bits, function, precision, from a recorded run."""

from collections.abc import Callable, Sequence
from typing import Any

import optax

from torch_bridge.judge.causes.explain import explained
from torch_bridge.judge.diagnosis import Diagnosis
from torch_bridge.judge.numbers import other_batches
from torch_bridge.judge.origin import Origin
from torch_bridge.judge.port import Port
from torch_bridge.judge.preflight.finding import Preflight
from torch_bridge.judge.preflight.preflight import preflight
from torch_bridge.judge.report import Report
from torch_bridge.replaying.batches import batches_of
from torch_bridge.replaying.model_state import Buffers
from torch_bridge.replaying.restore import restore
from torch_bridge.replaying.steps import Carry, LossFn, StepFunction
from torch_bridge.trace.trace import Array, Trace
from torch_bridge.weights import Weights


def check(
    trace: Trace,
    tx: optax.GradientTransformation | None = None,
    *,
    loss_fn: LossFn | None = None,
    data: Any = None,
    weights: Weights | None = None,
    buffers: Buffers = None,
    opt_state: optax.OptState | None = None,
    step: StepFunction | None = None,
    state: Carry = None,
    order: Sequence[Array] | None = None,
    params: Any = None,
    shadows: int = 0,
    allow_imprecise: bool = False,
    explain: bool = True,
    progress: Callable[[], None] = lambda: None,
) -> Report:
    """Judge whether a JAX port is the PyTorch run that was recorded: the same bits, the same function, or another one.

    Two questions are answered, each in the arithmetic that can answer it. *Is it the same function?* At the steps for
    which the trace holds float64 twins, loss, gradients and named layers of the port are evaluated in float64, from
    torch's state, and compared with the twins; the update rule is compared in float64 with the recorded recipe,
    wherever its bits are not torch's. *Does it compute it as well?* The float32 (or bfloat16) result of each side is
    compared with its own float64 twin. The distance between two free runs decides nothing; it is in
    ``report.drives["free"]``. Where it jumps, by far more than at any step before, that step is evaluated in float64
    too, against torch's own values: the two steps that jump most.

    Args:
        trace: the recorded run.
        tx: the JAX rule, any optax transformation.
        loss_fn: ``loss_fn(params, batch)`` -> scalar, pure. Without it the update rule alone is judged. Its layers are
            compared with torch's where they are modules of flax nnx, linen or equinox and ``weights`` maps theirs, and
            where it names their outputs by ``jax.ad_checkpoint.checkpoint_name(x, "torch's module name")``.
            With ``buffers`` it is ``loss_fn(params, batch, model_state) -> (scalar, model_state)``.
        data: a pytree of arrays with a leading axis of examples, or a function ``(step, indices) -> batch``; see
            `replay`.
        weights: the places of torch's parameters in JAX's; None keeps them in a dict by torch's names, in torch's
            layout.
        buffers: the port has a model state, such as BatchNorm's running statistics, and how it lies to torch's
            buffers: True for a dict by torch's names in torch's layout, or ``map_weights(torch_buffers,
            model_state)``, where ``torch_buffers`` are arrays by name, such as ``dict(model.named_buffers())``. They
            are judged like loss and gradients: a port that is torch's in training and not in evaluation is different.
        opt_state: the state of ``tx`` to begin with; None takes ``tx.init``.
        step: in place of ``tx`` and ``loss_fn``, a function that reports what it did, see `replay`. It is evaluated in
            float64 like the others: at each such step the parameters (and buffers) that it reports are replaced by
            torch's in its state. The first state stays as it is. It reports its model state as ``"buffer"``, by
            torch's names or as ``buffers`` says.
        state: the first ``state`` for ``step``.
        order: the indices of each step's batch as the port draws them, to be compared with torch's. The free run
            takes them; evaluations in float64 take torch's batches.
        params: the port's own first parameters, which `torch_bridge.preflight` compares with torch's.
        shadows: how many copies of the free run with other roundings show its spread, for information; 0 or at least 2.
        allow_imprecise: let a port that is the same function, computed worse than torch does it, count as the same.
        explain: begin with a preflight, and seek the causes of a difference; False gives the verdict alone, sooner.
        progress: called after each step of each drive.

    Returns:
        A `Report`; ``report.ok`` is the short answer, ``str(report)`` one sentence.

    Raises:
        ValueError: an argument that is needed is missing, with its name.

    Exactness: the answer depends on no tolerance that is set by hand for this run; see `torch_bridge.judge.twins`.

    Example::

        report = torch_bridge.check(Trace.load("run.trace"), optax.sgd(0.1), loss_fn=loss_fn, data=(x, y))
    """
    if shadows == 1 or shadows < 0:
        raise ValueError(f"shadows must be 0, or at least 2 to show a spread, but got {shadows}")
    if trace.digests:
        trace = restore(trace)
    port = Port(trace, tx, loss_fn, weights, buffers, opt_state, step, state, batches_of(data, trace), order, progress)
    given = {
        "data": data, "weights": weights, "buffers": buffers, "params": params, "order": order, "opt_state": opt_state
    }  # fmt: skip
    diagnosis = Diagnosis(
        preflight=preflight(trace, tx, loss_fn=loss_fn, **given) if explain else Preflight(),
        origin=Origin(trace, tx, loss_fn, data, weights, buffers, opt_state, step, state, order),
    )
    if not trace.complete:
        diagnosis.notes.append(f"The trace was cut off, and has the first {trace.n_steps} steps of its run.")
    diagnosis.others += other_batches(trace, order or ())
    if tx is not None:
        port.update(diagnosis)
    if step is not None or loss_fn is not None:
        port.free(diagnosis, shadows)
    if not diagnosis.drives:
        raise ValueError("give tx=, an optax transformation, or step=, a function that reports what it did")
    if loss_fn is not None:
        programs = port.programs()
        port.twins(diagnosis, programs)
        port.hazards(diagnosis, programs)
    elif step is not None:
        programs = port.programs()
        port.twins(diagnosis, programs)
        port.own_gradients(diagnosis)
        port.hazards(diagnosis, programs)
    else:
        diagnosis.notes.append("Loss and gradient were not compared: there is no loss_fn=.")
    report = diagnosis.report(trace, allow_imprecise)
    return explained(report, port, diagnosis.twins) if explain else report
