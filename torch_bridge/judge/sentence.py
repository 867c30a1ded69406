"""A verdict in one sentence."""

from typing import TYPE_CHECKING

from torch_bridge.judge.bits_sentence import describe
from torch_bridge.judge.layers.notes import beside_words
from torch_bridge.trace.phases import FUNCTION

if TYPE_CHECKING:
    from torch_bridge.judge.hazards import Hazard
    from torch_bridge.judge.report import Report


_OF_UPDATES = ("clip", "decay", "momentum", "moments", "schedule", "average")
"""The families of causes that act behind the gradients."""


def sentence(report: "Report") -> str:
    """Return a report's verdict in one sentence."""
    return _verdict(report) + _hazards(report)


def hazard_words(hazard: "Hazard") -> str:
    """Return a hazard with its line and figure, such as "softmax without its maximum at net.py:12, ..."."""
    words = hazard.kind + (f" at {hazard.line}" if hazard.line else "")
    measured, limit = hazard.measured, hazard.limit
    if hazard.kind == "softmax without its maximum":
        largest = "" if measured is None else f", largest logit {measured:.3g}"
        return f"{words}{largest}, overflows at {limit:.3g}"
    if hazard.kind == "logarithm of a probability":
        smallest = "" if measured is None else f", smallest probability {measured:.1e}"
        return f"{words}{smallest}, infinite below {limit:.0e}"
    largest = "" if measured is None else f", largest mean^2 / variance {measured:.3g}"
    return f"{words}{largest}, nothing is left at {limit:.0e}"


def _hazards(report: "Report") -> str:
    if not report.hazards:
        return ""
    more = f" and {len(report.hazards) - 1} more" if len(report.hazards) > 1 else ""
    return f"; hazard: {hazard_words(report.hazards[0])}{more}"


def _verdict(report: "Report") -> str:
    if report.verdict == "bitwise":
        return f"identical in every bit, {report.n_steps} steps"
    if report.verdict == "different":
        return f"{_different(report)}; cause: {_cause(report)}"
    if report.verdict == "imprecise":
        worst = report.imprecision
        assert worst is not None
        return (
            "the same function, computed less precisely than torch does: first in "
            f"{describe(worst.phase, worst.name)}, "
            f"whose relative error is {worst.jax:.1e} in JAX and {worst.torch:.1e} in torch, {_factor(worst.factor)}"
            + (f"; most is lost at {report.line}" if report.line else "")
            + (f"; cause: {_cause(report)}" if report.causes else "")
        )
    return f"the same function{_evaluations(report)}{_precision(report)}{_excused(report)}"


def _different(report: "Report") -> str:
    d = report.difference
    assert d is not None
    element = f"[{', '.join(map(str, d.index))}]" if d.index else ""
    apart = f", relative distance {d.distance:.1e} where rounding explains {d.limit:.0e}" if d.limit else ""
    apart += ", too small to show in float32" if 0 < d.distance < 2**-28 else ""
    where = describe(d.phase, d.name, report.numbers)
    beside = beside_words(report.layers, d.phase, d.name)
    return (
        f"different, first at step {d.step} of {report.n_steps} (from 0), in {where}{element}{beside}: "
        f"torch {d.torch:.9g}, JAX {d.jax:.9g}{apart}"
    )


def _cause(report: "Report") -> str:
    if report.causes:
        words = "; and ".join(cause.sentence[0].lower() + cause.sentence[1:].rstrip(".") for cause in report.causes)
        first = report.difference
        if first and first.phase in FUNCTION and all(cause.family in _OF_UPDATES for cause in report.causes):
            return f"unknown; apart from that, {words}"
        return words
    assert report.difference is not None
    constants = report.difference.constants
    if len(constants) != 1:
        return "unknown"
    ((name, change),) = constants.items()
    known = {"lr": "the learning rate", "weight_decay": "the weight decay", "momentum": "the momentum"}
    words = f"the constant {name}" if name[0] in "-0123456789" else known.get(name, name)
    return f"{words} is off by {change:+.2e} relative to torch's"


def _evaluations(report: "Report") -> str:
    if not report.loss_steps:
        return ""
    steps = "1 step" if len(report.loss_steps) == 1 else f"{len(report.loss_steps)} steps"
    furthest = max((f.distance for f in report.functions if f.distance <= f.limit), default=0.0)
    return f": in float64 loss and gradients agree to {furthest:.0e} at {steps}"


def _precision(report: "Report") -> str:
    if not report.precisions:
        return ""
    worst = max(report.precisions, key=lambda p: p.factor)
    base = worst.jax / worst.factor if worst.factor > 0 else 0.0
    counted = f", which counts as {base:.1e}" if base > 1.5 * worst.torch else ""
    return (
        f"; rounding error at most {worst.factor:.1f} times torch's ({describe(worst.phase, worst.name)}: "
        f"JAX {worst.jax:.1e}, torch {worst.torch:.1e}{counted})"
    )


def _excused(report: "Report") -> str:
    n, held = report.discontinuities, sum(f.held for f in report.functions)
    words = f"; {n} differ at a discontinuity alone" if n else ""
    return words + (f"; {held} differ by constants that are equal in float32" if held else "")


def _factor(factor: float) -> str:
    return "which is not finite" if factor == float("inf") else f"{factor:,.0f} times as large"
