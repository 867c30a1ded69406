"""A port evaluated again with a setting undone, and compared with torch."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from torch_bridge.judge.causes.cause import Cause
from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.causes.environment import EAGER, FLOAT32, MATMUL, OVERFLOW
from torch_bridge.judge.causes.loss_cases import LossCase
from torch_bridge.judge.causes.loss_question import LossQuestion
from torch_bridge.judge.causes.place import Substituted
from torch_bridge.judge.causes.traced_again import error_of, fresh
from torch_bridge.judge.compare import compare
from torch_bridge.judge.findings import unit_roundoff
from torch_bridge.judge.programs import Programs
from torch_bridge.judge.report import FACTOR
from torch_bridge.judge.widening import Widened
from torch_bridge.replaying.replay import replay

if TYPE_CHECKING:
    from torch_bridge.judge.port import Port
    from torch_bridge.judge.report import Report

_KEY = "F64_F64_F64"  # the precision under which JAX keeps these traces apart; it has no effect on float64
_PRODUCTS = re.compile(r":i32\[[^\]]*\] = (mul|integer_pow|shift_left|dot_general|cumprod|cumsum)\b")


def precise_elsewhere(report: "Report", cases: Sequence[LossCase], programs: Programs) -> list[Cause]:
    """Return the setting, or the type, without which an imprecise function is as precise as torch's."""
    worst = report.imprecision
    assert worst is not None
    wide = any(np.asarray(p).dtype == np.float64 for p in jax.tree.leaves(cases[0].args[0]))
    roundoff = unit_roundoff(np.float64 if wide else np.float32)
    limit = FACTOR * max(worst.torch, 2 * roundoff)
    asked = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    tried = [MATMUL] if asked not in (None, "default", "highest") or jax.default_backend() != "cpu" else []
    for entry in [*tried, FLOAT32] if wide else tried:
        with entry.repair(), jax.default_matmul_precision("highest" if entry is MATMUL else _KEY):
            error = max(error_of(case, programs) for case in cases)
        if error <= limit:
            return [_cause(entry, [case.step for case in cases], worst.jax, error / limit, len(cases))]
    return []


def in_64_bits(cases: Sequence[LossCase], programs: Programs, before: float) -> list[Cause]:
    """Return the cause that an overflow of integers is, if with 64 bits all cases agree."""
    if not _PRODUCTS.search(str(jax.make_jaxpr(fresh(programs.function))(*cases[0].args))):
        return []
    again = []
    for case in cases:
        args = case.args[0], OVERFLOW.repair(case.args[1])
        substituted = Substituted(fresh(programs.function), args, "retraced")

        def program(*given: Any, at: Any = None, substituted: Substituted = substituted) -> Widened:
            del given, at
            return Widened(None, substituted({}, {})[0], {}, None)

        again.append(replace(case, program=program, known={}))
    agreement = LossQuestion(again).agreement(())
    if not agreement.same:
        return []
    return [_cause(OVERFLOW, [case.step for case in cases], before, agreement.share, agreement.values)]


def compiled_again(report: "Report", port: "Port") -> list[Cause]:
    """Return the cause that an eager update is, if its bits are torch's once it is compiled."""
    drive = report.drives.get("update")
    if drive is None or drive.identical or port.tx is None or not jax.config.jax_disable_jit:  # type: ignore[attr-defined]
        return []
    with EAGER.repair():
        replayed = replay(port.trace, port.tx, drive="update", weights=port.weights, opt_state=port.opt_state)
    compared = compare(port.trace, replayed)
    if not compared.identical:
        return []
    values = sum(row.values for row in drive.rows)
    share = sum(row.differing for row in drive.rows) / values
    return [_cause(EAGER, list(range(port.trace.n_steps)), share, 0.0, values)]


def _cause(entry: Entry, steps: list[int], before: float, after: float, values: int) -> Cause:
    sentence, fix = entry.worded(None, None)
    return Cause(entry.name, entry.family, sentence, fix, {}, tuple(steps), before, after, values)
