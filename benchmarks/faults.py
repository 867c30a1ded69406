"""Planted faults: how many are detected, located and named, beside what people use today.

``python -m benchmarks.faults [one-in-n]``: every n-th fault of each recipe.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import optax

import torch_bridge
from tests.support.small_run import DATA, loss_fn
from tests.torch_bridge.judge.causes.rules_planted import HEAVY, LR, MOMENTS, heavy_ball, moments, rates
from tests.torch_bridge.judge.causes.runs import trained
from tests.torch_bridge.judge.causes.test_losses_planted import LOSSES
from tests.torch_bridge.judge.causes.test_rules_planted import OTHERS, scheduled

CLEAN: dict[str, Callable[[], optax.GradientTransformation]] = {
    "heavy ball": heavy_ball,
    "moments": moments,
    "falling": scheduled(rates(*(LR * 0.8**t for t in range(9)))),
    "warm-up": scheduled(rates(*(LR * min((t + 1) / 4, 1.0) for t in range(9)))),
    "steps": scheduled(lambda count: LR * 0.5 ** (count // 3)),
}
"""The recipes, and their right ports."""
EARLY = ("data", "forward", "loss", "gradient")


@dataclass(frozen=True)
class Fault:
    """One port of one recipe; without names it is a clean one."""

    recipe: str
    names: tuple[str, ...]
    rule: Callable[[], optax.GradientTransformation]
    loss: Callable[[Any, Any], Any] = loss_fn

    @property
    def early(self) -> bool:
        """True if it shows before the update rule."""
        return any(name in LOSSES for name in self.names)


def faults(every: int) -> Iterator[Fault]:
    """Every n-th fault of the rule, of the loss and of both, of each recipe; and the clean ports."""
    draw = random.Random(0)
    for recipe, rule in CLEAN.items():
        yield Fault(recipe, (), rule)
        of_rule = {**({"heavy ball": HEAVY, "moments": MOMENTS}.get(recipe, {}))}
        of_rule |= {name: make for (name, where), make in OTHERS.items() if where == recipe}
        singles = [Fault(recipe, (name,), make) for name, make in of_rule.items()]
        singles += [Fault(recipe, (name,), rule, loss) for name, loss in LOSSES.items()]
        draw.shuffle(singles)
        yield from singles[::every]
        for _ in range(max(1, 8 // every)):
            (a, make), (b, loss) = draw.choice(list(of_rule.items())), draw.choice(list(LOSSES.items()))
            yield Fault(recipe, (a, b), make, loss)


@dataclass(frozen=True)
class Row:
    """What was found on one port."""

    fault: Fault
    detected: bool
    located: bool
    named: bool
    seconds: float
    substitutions: int
    peers: tuple[bool, bool, bool]


def measured(fault: Fault) -> Row:
    """Check one port."""
    trace, start = trained(fault.recipe), time.perf_counter()
    report = torch_bridge.check(trace, fault.rule(), loss_fn=fault.loss, data=DATA)
    seconds = time.perf_counter() - start
    difference = report.difference
    located = difference is not None and (difference.phase in EARLY) == fault.early
    named = {cause.name for cause in report.causes} == set(fault.names)
    found = " + ".join(cause.name for cause in report.causes) or "-"
    print(f"  {fault.recipe}: {' + '.join(fault.names) or 'clean'}: {found}, {seconds:.1f} s", flush=True)
    return Row(fault, not report.ok, located, named, seconds, report.substitutions, peers(trace, report.runs["free"]))


def peers(torch: torch_bridge.Trace, jax: torch_bridge.Trace) -> tuple[bool, bool, bool]:
    """Whether a difference is seen in the first gradients, in ten losses, in the curve's end."""
    gradients = any(
        not np.allclose(jax.value(key, 0), torch.value(key, 0), rtol=1e-5, atol=1e-5)
        for key in torch.keys
        if key.startswith("gradient/") and jax.has(key, 0)
    )
    mine, theirs = (np.asarray(t.steps["loss"], np.float64)[:10] for t in (jax, torch))
    losses = not np.allclose(mine, theirs, rtol=1.0, atol=0)
    tail = slice(-max(1, len(mine) // 4), None)
    curve = not abs(mine[tail].mean() - theirs[tail].mean()) <= 0.05 * abs(theirs[tail].mean())
    return bool(gradients), losses, bool(curve)


def main() -> None:
    """Print the table."""
    rows = [measured(fault) for fault in faults(int(sys.argv[1]) if len(sys.argv) > 1 else 1)]
    for title, n in (("clean ports", 0), ("one fault", 1), ("two faults", 2)):
        own = [row for row in rows if len(row.fault.names) == n]
        if not own:
            continue
        seen = [sum(row.peers[i] for row in own) for i in range(3)]
        print(
            f"{title}: {len(own)}; detected {sum(r.detected for r in own)}, located {sum(r.located for r in own)}, "
            f"named {sum(r.named for r in own)}; peers: gradients {seen[0]}, ten losses {seen[1]}, curve {seen[2]}; "
            f"median {statistics.median(r.seconds for r in own):.1f} s, "
            f"{statistics.median(r.substitutions for r in own):.0f} substitutions"
        )


if __name__ == "__main__":
    main()
