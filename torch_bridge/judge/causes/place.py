"""Where a fault is, by substitution: torch's value takes the place of the port's until the difference is gone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from funcsgd.arithmetic.float64_words import doubles
from torch_bridge.judge.evaluator import Evaluator
from torch_bridge.judge.findings import norm
from torch_bridge.judge.lanes import to_wide
from torch_bridge.judge.widening import Reading, traced
from torch_bridge.trace.trace import Array

_LAYER = 1e-9  # relative distance of a layer's output in float64 that is no rounding


@dataclass(frozen=True)
class Place:
    """A fault's place.

    Attributes:
        names: the layers behind whose substitution everything up to the loss agrees, in causal order.
        substitutions: how many times a value of torch's took the place of the port's.
        whole: True if with these everything agrees; otherwise something behind the last layer differs as well.
    """

    names: tuple[str, ...]
    substitutions: int
    whole: bool


Run = Callable[[Mapping[str, Array]], tuple[Mapping[str, Array], bool]]
"""From substituted outputs of layers to all of them, as computed, and whether the loss agrees."""


def layers_at_fault(run: Run, torch: Mapping[str, Array], order: Sequence[str]) -> Place:
    """Substitute torch's output of the first layer that differs; then of the next one that still does, and so on.

    What differs only because something before it did agrees after the substitution, and is no place of a fault.

    Args:
        run: evaluates the port.
        torch: torch's outputs, by layer.
        order: the layers in causal order.
    """
    given: dict[str, Array] = {}
    while True:
        outputs, loss_agrees = run(given)
        off = [name for name in order if name in outputs and name not in given and _apart(outputs[name], torch[name])]
        if not off:
            return Place(tuple(given), len(given), loss_agrees)
        given[off[0]] = torch[off[0]]


def _apart(value: Array, reference: Array) -> bool:
    return not norm(value - reference) <= _LAYER * (norm(reference) or 1.0)


class Substituted:
    """A function in float64 with named values replaced; compiled once for all choices of them."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], reading: Reading, **options: str) -> None:
        """Trace the function at its arguments; ``key=`` is that of `torch_bridge.judge.widening.traced`.

        Raises:
            CannotWiden: it has no float64 form.
        """
        closed, shape = traced(function, args, reading, **options)
        self._leaves, self._result = jax.tree.leaves(args), jax.tree.structure(shape)

        def evaluate(leaves: list[Any], given: dict[str, tuple[Any, Any]]) -> Any:
            evaluator = Evaluator(False, False, reading == "as written", given=given)
            results = evaluator.run(closed, evaluator.arguments(closed, leaves))
            return [x.wide for x in results], {name: x.wide for name, x in evaluator.names.items()}

        self._program = jax.jit(evaluate)

    def __call__(self, given: Mapping[str, Array], all_given: Mapping[str, Array]) -> tuple[Any, dict[str, Array]]:
        """Return the results and all named values as computed.

        Args:
            given: the values to replace.
            all_given: those that may be replaced, each in the port's layout.
        """
        with doubles():
            choice = {name: (np.asarray(name in given), value) for name, value in all_given.items()}
            leaves = [to_wide(x) for x in self._leaves]
            results, names = jax.device_get(self._program(leaves, choice))
        return jax.tree.unflatten(self._result, results), names
