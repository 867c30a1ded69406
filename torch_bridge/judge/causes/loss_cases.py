"""The steps at which loss and gradients are explained: torch's twin, and the port's function in float64."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from torch_bridge.judge.causes.batch import Batch
from torch_bridge.judge.causes.outcome import Outcome
from torch_bridge.judge.findings import coarse_limits, errors_of_torch, limits
from torch_bridge.judge.programs import Programs
from torch_bridge.judge.widening import Reading, Widened
from torch_bridge.trace.phases import phase_of
from torch_bridge.trace.trace import Array, Step, in_phase
from torch_bridge.weights import Weights

if TYPE_CHECKING:
    from torch_bridge.judge.port import Port


@dataclass(frozen=True)
class LossCase:
    """One step.

    Attributes:
        step: its number.
        args: what the port's function is given: parameters (or a state) and a batch.
        program: the function in float64; ``at=`` evaluates it at other arguments of the same shapes.
        weights: the places of torch's parameters.
        reference: torch's loss and gradients, by key.
        limits: by key, the distance that rounding explains.
        params: torch's parameters.
        batch: the inputs and targets in ``args``.
        places: their positions among the leaves of the batch.
        known: outcomes that were evaluated already.
    """

    step: int
    args: tuple[Any, Any]
    program: Callable[..., Widened]
    weights: Weights
    reference: Step
    limits: Mapping[str, float]
    params: Mapping[str, Array]
    batch: Batch
    places: tuple[int, int] = (0, 0)
    known: dict[Any, Outcome] = field(default_factory=dict, repr=False)

    def outcome(self, batch: Batch | None = None) -> Outcome:
        """Return the port's loss and gradients, on another batch if one is given."""
        key = None if batch is None else tuple(x.tobytes() for x in (batch.x, batch.y) if x is not None)
        if key not in self.known:
            self.known[key] = self._outcome(batch)
        return self.known[key]

    def _outcome(self, batch: Batch | None) -> Outcome:
        at = None if batch is None else (self.args[0], self.with_batch(batch))
        loss, gradient, _ = self.program(*self.args, at=at).wide
        y = self.batch.y
        return Outcome(
            loss=float(np.asarray(loss)),
            gradients=self.weights.to_torch(gradient),
            params=self.params,
            torchs={name: np.asarray(g, np.float64) for name, g in in_phase(self.reference, "gradient").items()},
            n=int(np.shape(self.batch.x)[0]) if np.ndim(self.batch.x) else 1,
            width=int(np.prod(y.shape[1:])) if y is not None else 1,
            uniform=self._uniform(batch or self.batch) if self.batch.classes else None,
        )

    def _uniform(self, batch: Batch) -> Callable[[], Outcome]:
        @functools.cache
        def uniform() -> Outcome:
            assert batch.y is not None
            each = [self.outcome(replace(batch, y=np.full_like(batch.y, c))) for c in range(batch.classes)]
            gradients = {name: np.mean([x.gradients[name] for x in each], 0) for name in each[0].gradients}
            return replace(each[0], loss=sum(x.loss for x in each) / len(each), gradients=gradients)

        return uniform

    def with_batch(self, batch: Batch) -> Any:
        """Return the port's batch with other inputs and targets."""
        leaves, structure = jax.tree.flatten(self.args[1])
        leaves[self.places[0]] = batch.x
        if batch.y is not None:
            leaves[self.places[1]] = batch.y
        return jax.tree.unflatten(structure, leaves)

    def values(self, outcome: Outcome) -> dict[str, Array]:
        """Return an outcome's quantities by key, as far as torch has them: the loss, then the gradients."""
        found = {"loss": np.asarray(outcome.loss)}
        found |= {f"gradient/{name}": np.asarray(g) for name, g in outcome.gradients.items()}
        return {key: value for key, value in found.items() if key in self.reference}


def loss_cases(port: "Port", programs: Programs, reading: Reading, steps: tuple[int, ...]) -> list[LossCase]:
    """Return the cases of a port that differs in loss or gradient, at the evaluated steps.

    Args:
        port: the JAX side.
        programs: of its loss or its step function.
        reading: how its Python numbers were read.
        steps: their numbers.
    """
    weights, trace = port.torch_weights(), port.trace
    cases, errors = [], functools.cache(lambda: errors_of_torch(trace))
    for t in steps[:4]:
        params = in_phase(trace.before(t), "parameter")
        args = (port.begins_with(programs, t), port.batch_at(t))
        run = {key: value for key, value in trace.step(t).items() if phase_of(key) in ("loss", "gradient")}
        twin = {key: value for key, value in trace.twins.get(t, {}).items() if phase_of(key) in ("loss", "gradient")}
        batch, places = _batch(args[1], params)
        case = LossCase(
            t, args, programs.wide[reading], weights, twin or run, limits(twin, run) if twin else {},
            {name: np.asarray(p, np.float64) for name, p in params.items()}, batch, places,
        )  # fmt: skip
        if not twin:
            both = programs.beside(*args)
            narrow, wide = ({"loss": np.asarray(loss)} | {f"gradient/{k}": g for k, g in weights.to_torch(g).items()}
                            for loss, g, _ in (both.narrow, both.wide))  # fmt: skip
            wide = {key: value for key, value in wide.items() if key in run}
            case = replace(case, limits=coarse_limits(narrow, wide, run, errors()))
        cases.append(case)
    return cases


def _classes(y: Array | None, params: Mapping[str, Array]) -> int:
    """The number of labels: the smallest length of a parameter's axis that has room for them; 0 without labels."""
    if y is None or y.ndim != 1 or not np.issubdtype(y.dtype, np.integer) or not y.size or y.min() < 0:
        return 0
    return min((n for p in params.values() for n in p.shape if n > max(int(y.max()), 1)), default=0)


def _batch(batch: Any, params: Mapping[str, Array]) -> tuple[Batch, tuple[int, int]]:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(batch)]
    floating = [i for i, leaf in enumerate(leaves) if np.issubdtype(leaf.dtype, np.floating)]
    x, y = floating[0] if floating else 0, len(leaves) - 1
    wide = [leaf.astype(np.float64) if np.issubdtype(leaf.dtype, np.floating) else leaf for leaf in leaves]
    targets = wide[y] if y != x else None
    return Batch(wide[x], targets, _classes(targets, params)), (x, y)
