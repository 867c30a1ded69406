"""The state that a rule begins with: torch's takes its place in the first step."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from torch_bridge.judge.bits_sentence import describe
from torch_bridge.judge.causes.cause import Cause
from torch_bridge.judge.causes.entry import Entry
from torch_bridge.judge.rules import RuleJudge
from torch_bridge.replaying.layout import Layout
from torch_bridge.trace.trace import Array, in_phase
from torch_bridge.translate.recipe_data import recorded_recipe
from torch_bridge.translate.states import torch_state, with_torch_state

if TYPE_CHECKING:
    from torch_bridge.judge.port import Port

FIRST_STATE = Entry(
    "first-state", "moments", "The rule begins with another state than torch's optimizer.",
    "give the rule torch's first state, by its options or check(opt_state=...)", lambda own, torchs: torchs,
    "the rule begins with another state than torch's optimizer: {words}", number="initial_accumulator_value",
)  # fmt: skip
"""``repair(own, torchs)`` is the state that the first step begins with."""
ENTRIES = (FIRST_STATE,)


def first_state(port: "Port") -> list[Cause]:
    """Return the cause, if some quantities of the first step are torch's once the rule begins with torch's state.

    Raises:
        CannotWiden: the rule has no float64 form.
    """
    assert port.tx is not None
    trace, weights = port.trace, port.torch_weights()
    layout, params = port.layout(), weights.to_jax(in_phase(trace.initial, "parameter"))
    state = layout.first_state(port.tx, params, trace.initial) if port.opt_state is None else port.opt_state
    judge, metric = RuleJudge(trace, port.tx, weights), trace.step(0).get("metric")
    own = [f for f in judge.judge(0, state, metric, own_state=True) if not f.same]
    for repaired in (state, _with_zeros(state, params, layout)):  # torch's takes its place, where torch has one
        repaired = FIRST_STATE.repair(state, layout.with_torchs(repaired, params, trace.initial))
        same = {(f.phase, f.name): f for f in judge.judge(0, repaired, metric, own_state=True) if f.same}
        mended = [f for f in own if (f.phase, f.name) in same]
        words = _first_gap(*(_named(each, params, layout) for each in (state, repaired))) if mended else ""
        if words:
            sentence, fix = FIRST_STATE.worded(None, None, words)
            after = [same[f.phase, f.name] for f in mended]
            share = max(f.distance / f.limit if f.limit else 0.0 for f in after)
            before = max(f.distance for f in mended)
            return [
                Cause(
                    "first-state", FIRST_STATE.family, sentence, fix, _options(port), (0,), before, share, len(mended)
                )
            ]  # fmt: skip
    return []


def _options(port: "Port") -> dict[str, float]:
    """Torch's number for the option that its first state comes of, as Adagrad has one."""
    value = recorded_recipe(port.trace.static).groups[0].options.get(FIRST_STATE.number)
    return {} if value is None else {"torch": float(value)}


def _with_zeros(opt_state: optax.OptState, params: Any, layout: Layout) -> optax.OptState:
    """A state with zeros for all that torch's optimizer will keep."""
    adapter = layout.observed.adapter
    kept = {key: tree for key, tree in torch_state(opt_state, params, adapter).items() if key in adapter.state}
    return with_torch_state(opt_state, params, adapter, jax.tree.map(jnp.zeros_like, kept))


def _named(opt_state: optax.OptState, params: Any, layout: Layout) -> dict[str, dict[str, Array]]:
    adapter = layout.observed.adapter
    kept = torch_state(opt_state, params, adapter)
    phases = [phase for phase in adapter.state if phase in kept and phase not in adapter.scalars]
    return {phase: layout.weights.to_torch(kept[phase]) for phase in phases}


def _first_gap(own: Mapping[str, Mapping[str, Array]], torchs: Mapping[str, Mapping[str, Array]]) -> str:
    """The first number of a state that is not torch's, beside torch's."""
    for phase, tree in own.items():
        for name, value in tree.items():
            a, b = np.ravel(value), np.ravel(torchs[phase][name])
            if (off := np.flatnonzero(a != b)).size:
                return f"{describe(phase, name)} is {a[off[0]]:.7g}, torch's {b[off[0]]:.7g}"
    return ""
