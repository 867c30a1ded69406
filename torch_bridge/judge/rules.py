"""Update rules in ideal arithmetic: a rule that does not promise bits, judged against torch's in float64.

From one state and one gradient both rules are evaluated in float64: the recorded recipe by this library's own rule,
which has torch's bits, and the candidate widened. What differs is fitted by small changes of the recipe's
hyperparameters, for two reasons: a program may hold its constants in the parameters' dtype, which changes them by its
rounding and is no fault; and a constant that is off by more is named, with how far off it is.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from funcsgd import AverageState, averaged_params, observing
from funcsgd.double import doubles
from torch_bridge.judge.evaluator import CannotWiden
from torch_bridge.judge.findings import SPARE, unit_roundoff
from torch_bridge.judge.widening import Reading, Widened, widened
from torch_bridge.parity.restore import rule_of
from torch_bridge.parity.steps import phases_of
from torch_bridge.parity.trace import Array, Step, Trace, in_phase
from torch_bridge.translate.states import momentum_buffers, nodes_of, with_averages, with_momentum_buffers
from torch_bridge.translate.weights import Weights

HELD = 4 * unit_roundoff(np.float32)
"""The largest relative change of a hyperparameter that comes of holding it, and computing with it, in float32;
parameters of a
narrower type hold theirs in that type."""

_PHASE_OF = {"weight_decay": "weight_decay", "momentum": "momentum", "dampening": "momentum", "lr": "learning_rate"}
_SHOWN = ("clip", "weight_decay", "momentum", "parameter")


@dataclass(frozen=True)
class RuleFinding:
    """How far two rules are apart in one quantity of one parameter at one step, both in float64 from equal states.

    Attributes:
        step: from 0.
        phase: the first phase that shows it; where a hyperparameter explains the difference, the one it belongs to.
        name: the parameter by its torch name.
        distance: 2-norm of the difference over the 2-norm of torch's value (of the update, for the parameter).
        limit: what rounding in float64, and constants held in the parameters' dtype, explain of it.
        same: True if the rules agree here.
        constants: relative changes of torch's hyperparameters that turn its value into the candidate's, if any do:
            ``{"weight_decay": -0.5}`` for a decay of half torch's. The learning rate's is relative to its largest
            value.
        index: the element furthest off, in torch's layout.
        reference: torch's value there.
        candidate: JAX's value there.
    """

    step: int
    phase: str
    name: str
    distance: float
    limit: float
    same: bool
    constants: Mapping[str, float] = field(default_factory=dict)
    index: tuple[int, ...] = ()
    reference: float = 0.0
    candidate: float = 0.0


class RuleJudge:
    """Judges an optax rule against a trace's recipe, one step at a time."""

    def __init__(self, trace: Trace, tx: optax.GradientTransformation, weights: Weights) -> None:
        """Prepare the programs; nothing is compiled yet."""
        self._trace, self._weights = trace, weights
        self._wide = _programs(tx)
        self._largest_rates = [
            float(np.max(np.abs(trace.steps.get(f"learning_rate/{i}", 0.0)), initial=0.0))
            for i in range(len(trace.static["groups"]))
        ]

    def judge(
        self, step: int, opt_state: optax.OptState, metric: Any = None, *, rate_is_torchs: bool = False
    ) -> list[RuleFinding]:
        """Compare the rules at one step of the trace.

        Args:
            step: its number.
            opt_state: the candidate's state before it; its momentum buffers are replaced by torch's.
            metric: what a rule that watches a metric is given.
            rate_is_torchs: the candidate's learning rate was seen to be torch's, and explains no difference.

        Raises:
            CannotWiden: the rule has no float64 form.
        """
        before, recorded = self._trace.before(step), self._trace.step(step)
        reference, columns, scales = self._reference(step, before, recorded)
        params = self._weights.to_jax(in_phase(before, "parameter"))
        buffers = self._weights.to_jax(in_phase(before, "momentum"), partial=True)
        opt_state = with_momentum_buffers(opt_state, params, buffers)
        if averages := in_phase(before, "average"):
            opt_state = with_averages(opt_state, self._weights.to_jax(averages))
        gradient = self._weights.to_jax(in_phase(recorded, "gradient"), partial=True)
        best: list[RuleFinding] = []
        refusal: CannotWiden | None = None
        for program in self._wide.values():
            try:
                wide = program(gradient, opt_state, params, metric).wide
            except CannotWiden as error:
                refusal = error
                continue
            findings = self._findings(step, recorded, reference, columns, scales, wide, rate_is_torchs)
            if not best or _agreement(findings) > _agreement(best):
                best = findings
            if all(finding.same for finding in findings):
                break
        if not best and refusal is not None:
            raise refusal
        return best

    def _findings(
        self, step: int, recorded: Step, reference: Any, columns: Any, scales: Any, wide: Any, rate_is_torchs: bool
    ) -> list[RuleFinding]:
        findings = []
        # Clipped in a way that the recorder was not told: what torch made of the gradients is known as rounded values
        # alone.
        rounded = in_phase(recorded, "clip") if self._trace.static.get("clip") is None else {}
        reference = {"clip": rounded, **reference} if rounded else reference
        for phase in _SHOWN:
            if phase not in wide or phase not in reference:
                continue
            mine = self._weights.to_torch(wide[phase])
            for name, value in reference[phase].items():
                if name in mine and f"gradient/{name}" in recorded:
                    basis = {key: column[phase][name] for key, column in columns.items() if phase in column}
                    dtype = recorded[f"gradient/{name}"].dtype
                    findings.append(
                        _finding(
                            step,
                            phase,
                            name,
                            value,
                            mine[name],
                            basis,
                            scales[name],
                            dtype,
                            {"lr"} if rate_is_torchs else set(),
                            bool(rounded),
                        )
                    )
        if "average" in wide:
            mine = self._weights.to_torch(wide["average"])
            findings += [
                _average_finding(step, name, value, mine[name])
                for name, value in in_phase(recorded, "average").items()
                if name in mine
            ]
        return findings

    def _reference(self, step: int, before: Step, recorded: Step) -> tuple[Any, Any, dict[str, float]]:
        """Torch's quantities in float64, their derivatives to the logarithm of each hyperparameter, and their terms'
        size.
        """
        groups = [dict(group) for group in self._trace.static["groups"]]
        theta = {
            "lr": [float(recorded.get(f"learning_rate/{i}", 0.0)) for i in range(len(groups))],
            "momentum": [
                float(recorded.get(f"momentum_in_force/{i}", group["momentum"])) for i, group in enumerate(groups)
            ],
            "weight_decay": [float(group["weight_decay"]) for group in groups],
        }
        # Relative changes; of the largest rate where a schedule ends near zero, of 1 where torch has none at all.
        units = {**theta, "lr": self._largest_rates, "weight_decay": [x or 1.0 for x in theta["weight_decay"]]}
        params, buffers = in_phase(before, "parameter"), in_phase(before, "momentum")
        gradients = in_phase(recorded, "gradient")
        clip = self._trace.static.get("clip")
        if clip is None and in_phase(recorded, "clip"):
            gradients = in_phase(recorded, "clip")
        with doubles():
            widen = lambda tree: {k: jnp.asarray(np.asarray(v, np.float64)) for k, v in tree.items()}  # noqa: E731
            given = widen(params), widen(buffers), {name: widen(gradients).get(name) for name in params}  # type: ignore[no-untyped-call]
            program = _reference_program(json.dumps(groups), json.dumps(clip))
            value, columns = jax.device_get(program(theta, units, *given))
        group_of = {name: i for i, group in enumerate(groups) for name in group["names"]}
        scales = {}
        for name, gradient in gradients.items():
            i = group_of[name]
            terms = np.linalg.norm(np.asarray(gradient, np.float64)) + theta["weight_decay"][i] * np.linalg.norm(
                np.asarray(params[name], np.float64)
            )
            if name in buffers:
                terms += theta["momentum"][i] * np.linalg.norm(np.asarray(buffers[name], np.float64))
            scales[name] = float(terms)
        rates = {name: theta["lr"][i] for name, i in group_of.items()}
        sizes = {name: {"": size, "parameter": size * rates[name]} for name, size in scales.items()}
        return value, columns, sizes  # type: ignore[return-value]


@functools.lru_cache(maxsize=16)
def _programs(tx: optax.GradientTransformation) -> dict[Reading, Callable[..., Widened]]:
    """A rule in float64; kept, since runs are often compared again."""
    step = _observed_rule(tx)
    return {reading: widened(step, reading=reading) for reading in ("retraced", "as traced")}


@functools.lru_cache(maxsize=16)
def _reference_program(groups: str, clip: str) -> Callable[..., tuple[Any, Any]]:
    """Torch's rule for a recipe, and its derivatives; compiled."""
    recipe = json.loads(groups), json.loads(clip)
    program: Callable[..., tuple[Any, Any]] = jax.jit(
        lambda theta, units, *given: _derivatives(*recipe, theta, units, given)
    )
    return program


def _derivatives(groups: Sequence[Mapping[str, Any]], clip: Any, theta: Any, units: Any, given: Any) -> tuple[Any, Any]:
    def rule(theta: Any) -> dict[str, Any]:
        params, buffers, gradients = given
        chosen = [
            {**group, "lr": theta["lr"][i], "momentum": theta["momentum"][i], "weight_decay": theta["weight_decay"][i]}
            for i, group in enumerate(groups)
        ]
        tx = rule_of(chosen, clip)
        state = with_momentum_buffers(tx.init(params), params, {name: buffers.get(name) for name in params})
        return _observed_rule(tx)(gradients, state, params, None)

    def along(key: str) -> Any:
        tangents = {other: units[other] if other == key else [0.0] * len(units[other]) for other in theta}
        tangents = jax.tree.map(lambda t, x: jnp.asarray(t, jnp.result_type(x)), tangents, theta)
        return jax.jvp(rule, (theta,), (tangents,))[1]

    theta = jax.tree.map(jnp.asarray, theta)
    return rule(theta), {key: along(key) for key in theta}


def _observed_rule(tx: optax.GradientTransformation) -> Callable[..., dict[str, Any]]:
    rule = optax.with_extra_args_support(tx)

    def step(gradient: Any, opt_state: optax.OptState, params: Any, metric: Any) -> dict[str, Any]:
        extra = {} if metric is None else {"value": metric}
        with observing() as seen:
            updates, opt_state = rule.update(gradient, opt_state, params, **extra)
        observed = {"parameter": updates, **phases_of(seen, params)}
        if (momentum := momentum_buffers(opt_state, params)) is not None:
            observed["momentum"] = momentum[0]
        if nodes_of(opt_state, AverageState):
            observed["average"] = averaged_params(opt_state, optax.apply_updates(params, updates))
        return observed

    return step


def _finding(
    step: int,
    phase: str,
    name: str,
    reference: Array,
    value: Array,
    basis: Mapping[str, Array],
    sizes: Any,
    dtype: Any,
    innocent: set[str],
    rounded: bool,
) -> RuleFinding:
    reference, value = np.asarray(reference, np.float64), np.asarray(value, np.float64)
    gap = value - reference
    size = sizes.get(phase, sizes[""])
    norm = float(np.linalg.norm(reference)) or size or 1.0
    rounding = SPARE * unit_roundoff(np.float64) * max(size, norm)
    u = unit_roundoff(dtype)
    rounding = max(rounding, 8 * u * max(size, norm)) if rounded else rounding
    held = 4 * u if u > unit_roundoff(np.float64) else SPARE * u
    distance = float(np.linalg.norm(gap))
    distance = np.inf if np.isnan(distance) else distance
    constants, rest = _fitted(gap, basis, rounding) if distance > rounding else ({}, 0.0)
    explained = rest <= rounding
    same = distance <= rounding or (explained and all(abs(change) <= held for change in constants.values()))
    off = {key: change for key, change in constants.items() if abs(change) > held} if explained else {}
    off = {} if off.keys() & innocent else off
    where = phase
    if not same and len(off) == 1:
        where = _PHASE_OF[next(iter(off))]
    index = np.unravel_index(int(np.argmax(np.nan_to_num(np.abs(gap), nan=np.inf))), gap.shape)
    allowed = rounding + held * sum(float(np.linalg.norm(column)) for column in basis.values())
    return RuleFinding(
        step, where, name, distance / norm, allowed / norm, same, {} if same else off,
        tuple(int(i) for i in index), float(reference[index]), float(value[index]),
    )  # fmt: skip


def _average_finding(step: int, name: str, torch: Array, value: Array) -> RuleFinding:
    """An average is a contraction: torch's own value is as good as its rounding, a few units in the last place."""
    reference, value = np.asarray(torch, np.float64), np.asarray(value, np.float64)
    gap, size = np.abs(value - reference), float(np.linalg.norm(reference)) or 1.0
    distance, limit = float(np.linalg.norm(gap)) / size, 8 * unit_roundoff(torch.dtype)
    index = np.unravel_index(int(np.argmax(gap)), gap.shape)
    return RuleFinding(
        step, "average", name, distance, limit, distance <= limit, {},
        tuple(int(i) for i in index), float(reference[index]), float(value[index]),
    )  # fmt: skip


def _fitted(gap: Array, basis: Mapping[str, Array], rounding: float) -> tuple[dict[str, float], float]:
    """Least squares of a gap by the columns that matter; the changes, and the norm of what is left."""
    columns = {key: np.ravel(column) for key, column in basis.items()}
    columns = {key: column for key, column in columns.items() if np.linalg.norm(column) * HELD > rounding * 1e-6}
    if not columns or not np.isfinite(gap).all():
        return {}, float(np.linalg.norm(gap)) if np.isfinite(gap).all() else np.inf
    norms = {key: float(np.linalg.norm(column)) for key, column in columns.items()}
    matrix = np.stack([column / norms[key] for key, column in columns.items()], axis=1)
    orthogonal, triangular = np.linalg.qr(matrix)  # a tall matrix: least squares of its triangle is ten times as fast
    solution, *_ = np.linalg.lstsq(triangular, orthogonal.T @ np.ravel(gap), rcond=1e-10)
    rest = float(np.linalg.norm(np.ravel(gap) - matrix @ solution))
    return {key: float(x) / norms[key] for key, x in zip(columns, solution, strict=True)}, rest


def _agreement(findings: list[RuleFinding]) -> int:
    """How many quantities agree before the first that does not."""
    return next((position for position, finding in enumerate(findings) if not finding.same), len(findings))
