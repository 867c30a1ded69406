"""A port traced again with something in JAX replaced, and compared with torch."""

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from torch_bridge.judge.causes.cause import Cause, Trial
from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.causes.function import NARROW, STOPPED
from torch_bridge.judge.causes.loss_cases import LossCase
from torch_bridge.judge.causes.loss_question import LossQuestion
from torch_bridge.judge.causes.place import Substituted
from torch_bridge.judge.findings import norm
from torch_bridge.judge.programs import Programs
from torch_bridge.judge.widening import Reading, Widened

if TYPE_CHECKING:
    from torch_bridge.judge.report import Report

_KEY = "F32_F32_F32"  # the precision under which JAX keeps these traces apart from all others
_MARKS = {
    "float16-inside": r"(?<!b)f16\[",
    "bfloat16-inside": r"bf16\[",
    "precision-reduced": r"reduce_precision",
}
_NEAR = 16.0  # times torch's error, as for the verdict


def without_stops(cases: Sequence[LossCase], programs: Programs, reading: Reading, before: float) -> Cause | Trial:
    """Return the cause that a stopped gradient is, if without it all cases agree; else what it left."""
    again = [replace(case, program=_program(programs, case.args, reading), known={}) for case in cases]
    agreement = LossQuestion(again).agreement(())
    if not agreement.same:
        return Trial(STOPPED.name, agreement.distance)
    return _cause(STOPPED, tuple(case.step for case in cases), before, agreement.share, agreement.values)


def _program(programs: Programs, args: tuple[Any, Any], reading: Reading) -> Any:
    with STOPPED.repair():
        substituted = Substituted(fresh(programs.function), args, reading, key=_KEY)

    def program(*given: Any, at: Any = None) -> Widened:
        del given, at
        return Widened(None, substituted({}, {})[0], {}, None)

    return program


def narrow_parts(report: "Report", cases: Sequence[LossCase], programs: Programs) -> tuple[list[Cause], list[Trial]]:
    """Return the narrow types without which a port is as precise as torch, or how imprecise it is without them.

    All of them are left out at once, in one trace; the causes are those that are in the program.
    """
    worst = report.imprecision
    assert worst is not None
    source = str(jax.make_jaxpr(fresh(programs.function))(*cases[0].args))
    found = [entry for entry in NARROW if re.search(_MARKS[entry.name], source)]
    limit = _NEAR * max(worst.torch, 2.0**-23)
    error = max(_error(case, programs) for case in cases) if found else worst.jax
    if found and error <= limit:
        steps = tuple(case.step for case in cases)
        return [_cause(entry, steps, worst.jax, error / limit, len(cases)) for entry in found], []
    return [], [Trial(entry.name, error) for entry in found or NARROW]


def _error(case: LossCase, programs: Programs) -> float:
    """The relative error of gradients or loss without narrow types."""
    with contextlib.ExitStack() as stack:
        for entry in NARROW:
            stack.enter_context(entry.repair())
        stack.enter_context(jax.default_matmul_precision(_KEY))
        return error_of(case, programs)


def error_of(case: LossCase, programs: Programs) -> float:
    """Return the relative error of gradients or loss, of the function in its own precision, as it is traced here."""
    closed, shape = jax.make_jaxpr(fresh(programs.function), return_shape=True)(*case.args)
    results = jax.jit(jax.extend.core.jaxpr_as_fun(closed))(*jax.tree.leaves(case.args))
    loss, gradient, _ = jax.tree.unflatten(jax.tree.structure(shape), jax.device_get(results))
    gradients = case.weights.to_torch(gradient)
    torchs = {key.partition("/")[2]: value for key, value in case.reference.items() if key.startswith("gradient/")}
    gaps = [norm(np.asarray(gradients[name], np.float64) - value) for name, value in torchs.items()]
    size = np.sqrt(sum(norm(value) ** 2 for value in torchs.values())) or 1.0
    apart = float(np.sqrt(sum(gap**2 for gap in gaps)) / size)
    reference = float(case.reference.get("loss", loss))
    return max(apart, abs(float(loss) - reference) / (abs(reference) or 1.0))


def fresh(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of which JAX holds no trace."""

    def call(*args: Any) -> Any:
        return function(*args)

    return call


def _cause(entry: Entry, steps: tuple[int, ...], before: float, after: float, values: int) -> Cause:
    sentence, fix = entry.worded(None, None)
    return Cause(entry.name, entry.family, sentence, fix, {}, steps, before, after, values)
