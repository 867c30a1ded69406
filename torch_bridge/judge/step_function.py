"""A step function at any step of a recorded run: its state brought to torch's, its rule in float64."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from torch_bridge.judge.lanes import CannotWiden
from torch_bridge.judge.rule_findings import RuleFinding
from torch_bridge.judge.rules import READINGS, Reference, agreement, findings_of, reference_of
from torch_bridge.judge.widening import Reading, Widened, widened
from torch_bridge.replaying.layout import Layout
from torch_bridge.replaying.steps import Carry, StepFunction
from torch_bridge.trace.trace import Trace, in_phase
from torch_bridge.weights import Weights

_CALLS = ("jit", "pjit", "closed_call")


class StepStates:
    """Finds in the state of a step function the arrays that it reports, and puts torch's in their place.

    What a step reports as its parameters and buffers and what it hands on in its state is one value of its program; so
    the place of each in the state is known, whatever the state is.
    """

    def __init__(self, step: StepFunction, state: Carry, batch: Any, layout: Layout, held: Sequence[str] = ()) -> None:
        """Trace the step once, on the shapes of ``state`` and ``batch``; ``held`` is what torch's optimizer keeps."""
        self._weights, self._model_state = layout.weights, layout.model_state
        closed, (after, observed) = jax.make_jaxpr(step, return_shape=True)(state, batch)
        atoms = [_origin(closed.jaxpr, atom) for atom in closed.jaxpr.outvars]
        handed_on = {origin: i for i, origin in reversed(list(enumerate(atoms[: len(jax.tree.leaves(after))])))}
        reported = jax.tree.unflatten(jax.tree.structure((after, observed)), atoms)[1]
        self.reports_buffers = "buffer" in reported
        self.places: dict[str, dict[Any, int | None]] = {}
        for phase in ("parameter", *held, "buffer"):
            if phase in reported:
                leaves = jax.tree_util.tree_leaves_with_path(reported[phase], is_leaf=lambda x: isinstance(x, _Origin))
                known = set(self._paths(phase))
                self.places[phase] = {path: handed_on.get(origin) for path, origin in leaves if path in known}

    def _paths(self, phase: str) -> list[Any]:
        """The paths of a phase's tree, as the port has it."""
        if phase != "buffer":
            return _paths(self._weights.template)
        return [] if self._model_state is None else _paths(self._model_state.weights.template)

    def found(self, phase: str) -> bool:
        """True if every array of a phase was found in the state."""
        return bool(self.places.get(phase)) and None not in self.places[phase].values()

    def at(self, state: Carry, before: Mapping[str, Any]) -> Carry:
        """Return a state of the run with torch's parameters, and with its buffers as far as they were found.

        Args:
            state: the port's own state before the step.
            before: torch's state before it, as `Trace.before` gives it.
        """
        leaves, structure = jax.tree.flatten(state)
        for phase in self.places:
            if not self.found(phase):
                continue
            for path, value in zip(self._paths(phase), self._values(phase, before), strict=True):
                place = self.places[phase].get(path)
                if place is not None and value is not None:
                    leaves[place] = value
        return jax.tree.unflatten(structure, leaves)

    def _values(self, phase: str, before: Mapping[str, Any]) -> list[Any]:
        if phase == "buffer":
            assert self._model_state is not None  # or there were no places
            return jax.tree.leaves(self._model_state.to_jax(before))
        return jax.tree.leaves(self._weights.to_jax(in_phase(before, phase), partial=True), is_leaf=_is_none)


class StepRuleJudge:
    """Judges the update of a step function in float64: torch's formula on the port's own gradient is the reference."""

    def __init__(self, trace: Trace, step: StepFunction, weights: Weights) -> None:
        """Prepare the programs; nothing is compiled yet."""
        self._trace, self._weights = trace, weights
        self._wide = _programs(step)

    def judge(self, t: int, state: Carry, batch: Any) -> list[RuleFinding]:
        """Compare one step's buffers and parameters.

        Args:
            t: the step's number.
            state: what the step function begins with: torch's parameters and buffers in its own form of state.
            batch: the step's batch.

        Raises:
            CannotWiden: the step has no float64 form.
        """
        best: list[RuleFinding] = []
        for _, named, reference in self.evaluated(t, state, batch):
            findings = findings_of(t, reference, named)
            if not best or agreement(findings) > agreement(best):
                best = findings
            if all(finding.same for finding in findings):
                break
        return best

    def evaluated(
        self, t: int, state: Carry, batch: Any
    ) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]], Reference]]:
        """Yield the step's gradients, its quantities, phase -> name -> array, and torch's, by each reading of numbers.

        All are in float64. Of a step that reports no gradients torch's twin has them: a port with other ones is
        another function anyway. Nothing is yielded where there are none, or of a step that reports no parameters.

        Raises:
            CannotWiden: the step has no float64 form by any reading.
        """
        before = self._trace.before(t)
        refusals: list[CannotWiden] = []
        for program in self._wide.values():
            try:
                observed = program(state, batch).wide
            except CannotWiden as error:
                refusals.append(error)
                continue
            gradients = self._gradients(t, observed)
            if not gradients or "parameter" not in observed:
                return
            reference = reference_of(self._trace, t, before, gradients, offset=in_phase(before, "parameter"))
            named: dict[str, dict[str, Any]] = {
                phase: self._weights.to_torch(observed[phase]) for phase in reference.ideals if phase in observed
            }
            named["parameter"] = {
                name: np.asarray(value) - np.asarray(before[f"parameter/{name}"], np.float64)
                for name, value in named["parameter"].items()
            }
            yield gradients, named, reference
        if len(refusals) == len(self._wide):
            raise refusals[-1]

    def _gradients(self, t: int, observed: Mapping[str, Any]) -> Mapping[str, Any]:
        if "gradient" in observed:
            return self._weights.to_torch(observed["gradient"])
        return in_phase(self._trace.twins.get(t, {}), "gradient")


@functools.lru_cache(maxsize=16)
def _programs(step: StepFunction) -> dict[Reading, Callable[..., Widened]]:
    """A step in float64; kept, since its causes are sought with the same programs."""
    return {reading: widened(lambda s, b: step(s, b)[1], reading=reading) for reading in READINGS}


class _Origin(tuple[Any, ...]):
    """Where a value of a program was computed: the calls on the way, and the variable."""


def _origin(jaxpr: Any, atom: Any, path: tuple[int, ...] = ()) -> _Origin:
    """Look through calls, whose results are other variables than what they return."""
    for number, equation in enumerate(jaxpr.eqns):
        if equation.primitive.name not in _CALLS or not any(atom is x for x in equation.outvars):
            continue
        inner = equation.params["jaxpr" if "jaxpr" in equation.params else "call_jaxpr"].jaxpr
        result = inner.outvars[next(i for i, x in enumerate(equation.outvars) if x is atom)]
        given = next((i for i, x in enumerate(inner.invars) if x is result), None)
        if given is not None:
            return _origin(jaxpr, equation.invars[given], path)
        return _origin(inner, result, (*path, number))
    return _Origin((path, id(atom)))


def _paths(tree: Any) -> list[Any]:
    return [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def _is_none(x: Any) -> bool:
    return x is None
