"""A function in float64 with its constants moved."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from funcsgd.arithmetic.float64_words import doubles
from torch_bridge.judge.constants import MOST, Constants
from torch_bridge.judge.evaluator import Evaluator
from torch_bridge.judge.widening import Reading, Widened, traced
from torch_bridge.trace.trace import Array


class Movable:
    """One function at one set of arguments, evaluated in float64 with other constants.

    Attributes:
        constants: what was found in it.
    """

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], reading: Reading) -> None:
        """Trace the function and list its constants.

        Raises:
            CannotWiden: see `torch_bridge.judge.widening.widened`.
        """
        self._closed, shape = traced(function, args, reading)
        self._result, self._leaves = jax.tree.structure(shape), jax.tree.leaves(args)
        self.constants = Constants()

        def listed(leaves: list[Any]) -> list[Any]:
            evaluator = Evaluator(False, False, reading == "as written", constants=self.constants)
            return [x.wide for x in evaluator.run(self._closed, evaluator.arguments(self._closed, leaves))]

        def evaluate(leaves: list[Any], moves: Any, noise: Any, draw: Any) -> Any:
            constants = Constants(moves, noise, jax.random.key(draw))
            constants.found = dict(self.constants.found)
            evaluator = Evaluator(False, False, reading == "as written", constants=constants)
            results = evaluator.run(self._closed, evaluator.arguments(self._closed, leaves))
            return [x.wide for x in results], {name: (None, x.wide) for name, x in evaluator.names.items()}

        self._program = jax.jit(evaluate)
        with doubles():
            jax.eval_shape(listed, self._leaves)

    def __call__(self, moves: Array | None = None, noise: float = 0.0, draw: int = 0) -> Widened:
        """Evaluate with constants moved.

        Args:
            moves: relative, see `Constants`; None moves none.
            noise: relative rounding error of the constant arrays.
            draw: which errors.
        """
        with doubles():
            moves = np.zeros(MOST) if moves is None else np.asarray(moves, np.float64)
            results, names = jax.device_get(self._program(self._leaves, moves, np.float64(noise), np.uint32(draw)))
        return Widened(None, jax.tree.unflatten(self._result, results), names, None)
