"""Why running statistics are not torch's: the usual mistakes, each proved by turning torch's value into the port's."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from torch_bridge.judge.causes.statistics import BIASED, NOT_COUNTED, NOT_UPDATED, OTHER_MOMENTUM, REVERSED
from torch_bridge.judge.findings import HELD, FunctionFinding, norm
from torch_bridge.trace.trace import Array, Step

_WHOLE = 1e-6  # a number of values is found as 1 / (1 - ratio), from a ratio that is exact to float64's rounding


@dataclass(frozen=True)
class Statistic:
    """One buffer of one step.

    Attributes:
        name: by torch's name.
        before: as the step found it.
        torch: as torch left it, in float64 where there is a twin.
        jax: as the port left it, in float64.
        limit: the distance that rounding explains.
    """

    name: str
    before: Array
    torch: Array
    jax: Array
    limit: float


def buffer_cause(statistic: Statistic, momentum: float | None) -> tuple[str, Mapping[str, float]]:
    """Return the entry that turns torch's value into the port's, and the momentum's relative error if it is that.

    Two entries are joined by ``" + "``.

    A running statistic is ``(1 - momentum) * before + momentum * new``. With the new value worked out from torch's:
    the port's ratio of what was added shows a variance that was divided by n; another momentum fits all channels.

    Args:
        statistic: which differs.
        momentum: torch's, of the layer; None where it has none.
    """
    before, torch, jax = (np.asarray(x, np.float64) for x in (statistic.before, statistic.torch, statistic.jax))
    role = statistic.name.rpartition(".")[2]
    if norm(jax - before) <= statistic.limit:
        return (NOT_COUNTED if role == "num_batches_tracked" else NOT_UPDATED).name, {}
    if not momentum or role not in ("running_mean", "running_var"):
        return "", {}
    new = (torch - (1 - momentum) * before) / momentum
    spare = statistic.limit * 4 / momentum  # the rounding of torch's value is in the new one, divided by the momentum
    if role == "running_var":
        ratio = _ratio(jax - (1 - momentum) * before, momentum * new)
        n = 1 / (1 - ratio) if ratio < 1 else 0.0
        whole = n > 1.5 and abs(n - round(n)) <= max(_WHOLE * n, n**2 * spare / (norm(momentum * new) or 1.0))
        if whole and norm(jax - BIASED.repair(before, new, momentum, round(n))) <= spare:
            return BIASED.name, {}
    if norm(jax - REVERSED.repair(before, new, momentum, 0.0)) <= spare:
        return REVERSED.name, {}
    theirs = _ratio(jax - before, new - before)
    if norm(jax - OTHER_MOMENTUM.repair(before, new, momentum, theirs)) <= spare:
        return OTHER_MOMENTUM.name, {"momentum": theirs / momentum - 1}
    if role == "running_var" and before.size > 2:
        return _both(before, new, jax, momentum, spare)
    return "", {}


def _both(before: Array, new: Array, jax: Array, momentum: float, spare: float) -> tuple[str, Mapping[str, float]]:
    """Another momentum and biased variances at once, as flax's BatchNorm has them by default."""
    columns = np.stack([np.ravel(before), np.ravel(new)], axis=1)
    (kept, taken), *_ = np.linalg.lstsq(columns, np.ravel(jax), rcond=None)
    theirs = float(1 - kept)
    n = 1 / (1 - taken / theirs) if 0 < taken < theirs else 0.0
    if n < 1.5 or norm(jax - BIASED.repair(before, new, theirs, round(n))) > spare:
        return "", {}
    return f"{OTHER_MOMENTUM.name} + {BIASED.name}", {"momentum": theirs / momentum - 1}


def with_cause(
    finding: FunctionFinding,
    before: Step,
    torch: Step,
    jax: Step,
    limits: Mapping[str, float],
    momenta: Mapping[str, float | None],
) -> FunctionFinding:
    """Return a finding on a buffer with the mistake that explains it.

    Args:
        finding: a difference.
        before: torch's state before the step.
        torch: what torch had in it, by key.
        jax: what the port had, likewise.
        limits: the distances that rounding explains, likewise.
        momenta: of the layers, None for a plain average of all batches.
    """
    key, layer = f"buffer/{finding.name}", finding.name.rpartition(".")[0]
    momentum = momenta.get(layer)
    count = torch.get("buffer/" + ".".join(filter(None, (layer, "num_batches_tracked"))))
    if momentum is None and layer in momenta and count is not None:
        momentum = 1.0 / float(count)
    statistic = Statistic(finding.name, before[key], torch[key], jax[key], limits[key])
    cause, constants = buffer_cause(statistic, momentum)
    held = bool(constants) and max(map(abs, constants.values())) <= HELD
    return replace(finding, cause=cause, constants=constants, held=held)


def _ratio(value: Array, of: Array) -> float:
    """The number by which ``of`` comes nearest to ``value``."""
    square = float(np.sum(of * of))
    return float(np.sum(value * of)) / square if square > 0 and np.isfinite(square) else 0.0
