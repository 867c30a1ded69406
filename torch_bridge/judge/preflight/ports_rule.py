"""A port's rule on a probe: any optax transformation, run over all steps in one program."""

import functools
from typing import Any

import jax
import numpy as np
import optax

from funcsgd.arithmetic.float64_words import doubles
from torch_bridge.judge.ideal import changes
from torch_bridge.judge.preflight.probes import PERIOD, Leaf, Probe
from torch_bridge.trace.trace import Array


def ports_rule(
    probe: Probe, tx: optax.GradientTransformation, tree: Any, metrics: Array | None, given_state: Any = None
) -> "PortsRule":
    """Return a port's rule on a probe, compiled: in float64, where every difference shows, if it can be run in it.

    Args:
        probe: what it is run on.
        tx: the rule.
        tree: the port's parameters.
        metrics: what a rule that watches a metric is given at each step.
        given_state: the state that the port begins with; its numbers, such as a learning rate that was set, are taken.
    """
    leaves, structure = jax.tree.flatten(tree)
    axes = tuple(np.ndim(leaf) for leaf in leaves)
    program = _ports_program(tx, structure, axes, probe.leaves, probe.n_steps, metrics is not None)
    return PortsRule(program, probe.params, metrics, _numbers_of(given_state))


@functools.lru_cache(maxsize=32)
def _ports_program(
    tx: optax.GradientTransformation, structure: Any, axes: tuple[int, ...], leaves: tuple[Leaf, ...], n_steps: int,
    watches: bool,
) -> Any:  # fmt: skip
    """A port's rule, compiled; kept, since runs are often compared again."""
    rule = optax.with_extra_args_support(tx)
    probe = Probe(leaves, np.empty(0), np.empty(0), n_steps, len(leaves))
    tree = jax.tree.unflatten(structure, [np.empty((0,) * n) for n in axes])

    def run(gradients: jax.Array, values: jax.Array, metrics: Any, numbers: Any) -> jax.Array:
        params = probe.small(tree, values)

        def step(opt_state: Any, at: Any) -> Any:
            t, metric = at
            gradient = probe.small(tree, gradients[t % PERIOD])
            extra = {"value": metric} if watches else {}
            updates, opt_state = rule.update(gradient, opt_state, params, **extra)
            return opt_state, probe.rows(changes(params, updates), structure)

        times = np.arange(n_steps)
        given = metrics.astype(values.dtype) if watches else np.zeros(n_steps, values.dtype)
        found: jax.Array = jax.lax.scan(step, _with_numbers(rule.init(params), numbers), (times, given))[1]
        return found

    return jax.jit(run)


def _numbers_of(given: Any) -> list[Any] | None:
    """The numbers of a given state, which are scalars, or the words of doubles; None in place of its other leaves.

    Raises:
        ValueError: it has counted steps: it is one in the middle of a run.
    """
    if given is None:
        return None
    numbers: list[Any] = []
    for leaf in jax.tree.leaves(given):
        dtype = getattr(leaf, "dtype", None)
        if dtype == np.uint32:
            numbers.append(np.asarray(leaf))
        elif dtype is None or np.ndim(leaf) or not jax.numpy.issubdtype(dtype, np.number):
            numbers.append(None)
        elif jax.numpy.issubdtype(dtype, np.integer) and np.any(np.asarray(leaf)):
            raise ValueError("the state that is given has counted steps, and torch's recipe is compared from its start")
        else:
            numbers.append(np.asarray(leaf))
    return numbers


def _with_numbers(opt_state: Any, numbers: list[Any] | None) -> Any:
    """The state with the numbers of a given one."""
    leaves, structure = jax.tree.flatten(opt_state)
    if numbers is None or len(numbers) != len(leaves):
        return opt_state
    return jax.tree.unflatten(
        structure,
        [
            mine if other is None or np.shape(mine) != np.shape(other) else jax.numpy.asarray(other, mine.dtype)
            for mine, other in zip(leaves, numbers, strict=True)
        ],
    )


class PortsRule:
    """A port's rule, which takes gradients ``(PERIOD, leaves, SIZE)`` to changes ``(n_steps, leaves, SIZE)``.

    Attributes:
        roundoff: the unit roundoff of the arithmetic that it is run in.
    """

    def __init__(self, program: Any, params: Array, metrics: Array | None, numbers: list[Any] | None) -> None:
        """Take a compiled function of gradients, parameters, metrics, and the numbers of its first state."""
        self._program, self._params, self._others = program, params, (metrics, numbers)
        self.roundoff = 2.0**-53

    def __call__(self, gradients: Array) -> Array:
        """Return the changes of the parameters at each step."""
        if self.roundoff < 2.0**-24:
            try:
                with doubles():
                    return np.asarray(self._program(gradients, self._params, *self._others), np.float64)
            except (TypeError, ValueError):  # its state changes its type: it is made for float32
                self.roundoff = 2.0**-24
        narrow = gradients.astype(np.float32), self._params.astype(np.float32)
        return np.asarray(self._program(*narrow, *self._others), np.float64)
