"""The rule of a step function whose state cannot be read: torch's rule on the port's own gradients.

Both start from the same parameters and are given the same gradients, so that nothing feeds back: their parameters
differ by the roundings of the steps so far, or the rules differ.
"""

import numpy as np

from torch_bridge.judge.findings import norm, unit_roundoff
from torch_bridge.judge.report import Difference
from torch_bridge.replaying.replay import Replay
from torch_bridge.replaying.restore import recorded_rule
from torch_bridge.trace.trace import Array, Trace, in_phase

_MEMORY = 1000.0
"""How many roundings of a step may be in it: an average with a memory of 1,000 steps keeps as many, and a bias
correction computed in float32 loses three digits."""


def own_gradients_difference(trace: Trace, run: Trace) -> Difference | None:
    """Return where a free run's parameters first leave those that torch's rule makes of the run's own gradients.

    Args:
        trace: the recorded PyTorch run.
        run: the port's free run, with its gradients and parameters in full.

    Returns:
        The first difference that rounding does not explain; None if there is none, or the run has no gradients to give.

    Raises:
        TypeError: torch's optimizer has no rule here.
        ValueError: the trace holds no recipe.
    """
    parameters = in_phase(trace.initial, "parameter")
    side = Replay(trace.initial, recorded_rule(trace), header=trace.static, drive="update")
    travelled = dict.fromkeys(parameters, 0.0)
    last = {name: np.asarray(value, np.float64) for name, value in parameters.items()}
    for t in range(run.n_steps):
        given = run.step(t)
        gradients, theirs = in_phase(given, "gradient"), in_phase(given, "parameter")
        if not gradients or not theirs:
            return None
        metric = {"metric": trace.steps["metric"][t]} if "metric" in trace.steps else {}
        made = in_phase(side.step({}, {f"gradient/{name}": g for name, g in gradients.items()} | metric), "parameter")
        for name, value in made.items():
            if name not in theirs:
                continue
            wide = np.asarray(value, np.float64)
            travelled[name] += norm(wide - last[name])
            last[name] = wide
            u = unit_roundoff(value.dtype)
            limit = _MEMORY * u * travelled[name] + 4 * (t + 1) * u * norm(wide)
            if norm(gap := np.asarray(theirs[name], np.float64) - wide) > limit:
                return _difference(t, name, wide, gap, limit, travelled[name])
    return None


def _difference(step: int, name: str, made: Array, gap: Array, limit: float, travelled: float) -> Difference:
    index = np.unravel_index(int(np.argmax(np.nan_to_num(np.abs(gap), nan=np.inf))), gap.shape)
    size = travelled or 1.0
    at = tuple(int(i) for i in index)
    return Difference(
        step, "parameter", name, at, float(made[index]), float(made[index] + gap[index]), norm(gap) / size, limit / size
    )
