"""What a JAX run has made, in the form of the torch checkpoint that it began from."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import optax

import funcsgd
from funcsgd.arithmetic.float64_words import from_words
from funcsgd.averages import AverageState
from funcsgd.stages import ScaleBySchedulersState
from torch_bridge.checkpoint.continuation import is_plateau, leaf_tensors, schedulers_of, updates_done
from torch_bridge.checkpoint.names import bare_names
from torch_bridge.checkpoint.parts import one_of
from torch_bridge.translate.states import nodes_of, torch_state
from torch_bridge.translate.to_torch import updates_made
from torch_bridge.weights import Weights
from torch_bridge.weights.jax_side import without_graph
from torch_bridge.weights.result import require_same_training

if TYPE_CHECKING:
    from torch_bridge.checkpoint.checkpoint import Checkpoint


def handed_back(
    found: "Checkpoint", params: Any, state: optax.OptState, weights: Weights, buffers: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the parts of a checkpoint, further on; see `Checkpoint.from_jax`."""
    require_same_training(weights)
    if odd := [name for name in buffers if name not in found.buffers]:
        raise ValueError(f"the model has no buffer {odd[0]!r}; it has {', '.join(found.buffers) or 'none'}")
    if any(int(node.mini_step) for node in nodes_of(state, optax.MultiStepsState)):
        raise ValueError("the run stands between gradients that are accumulated: hand it back after an update")
    held = {name: np.asarray(value) for name, value in buffers.items()}
    parts: dict[str, Any] = {"model": _renamed(found.part("model"), weights.to_torch(params) | held)}
    watching = nodes_of(state, ScaleBySchedulersState)
    optimizer = one_of(found.part("optimizer"))
    moved = dict(optimizer)
    moved["state"] = _state(found, without_graph(params), state, weights)
    moved["param_groups"] = [
        group if float(group["lr"]) == rate else {**group, "lr": rate}  # which may be a tensor
        for group, rate in zip(optimizer["param_groups"], _rates(found, state), strict=True)
    ]
    parts["optimizer"] = [moved] if isinstance(found.part("optimizer"), list) else moved
    if "scheduler" in found.keys:
        parts["scheduler"] = _schedulers(found, state, watching, [float(g["lr"]) for g in moved["param_groups"]])
    averages = nodes_of(state, AverageState)
    if "average" in found.keys and averages:
        old = found.part("average")
        inside = {name: value for name, value in old.items() if name != "n_averaged"}
        made = _renamed(inside, weights.to_torch(averages[0].average) | held)
        if "n_averaged" in old:
            made["n_averaged"] = np.asarray(int(averages[0].n_averaged), np.asarray(old["n_averaged"]).dtype)
        parts["average"] = {name: made[name] for name in old}
    return parts


def _renamed(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A state dict with other values; the names keep their wrappers' prefixes, tied tensors stay one."""
    names = bare_names(list(old))
    now = {id(old[names[short]]): value for short, value in new.items()}
    return {name: now.get(id(value), value) for name, value in old.items()}


def _state(found: "Checkpoint", params: Any, state: optax.OptState, weights: Weights) -> dict[int, dict[str, Any]]:
    by_key = torch_state(state, params, found.adapter)
    tensors = leaf_tensors(weights, params)
    structure: Any = jax.tree.structure(params)
    named: dict[str, dict[str, Any]] = {}
    for key, tree in by_key.items():
        leaves = structure.flatten_up_to(tree)
        if key in ("started", *found.adapter.scalars):
            named[key] = {
                name: np.asarray(leaf)
                for name, leaf in zip(tensors, leaves, strict=True)
                if name is not None and leaf is not None
            }
        else:
            named[key] = weights.to_torch(tree)
    started = named.pop("started", {})
    flat = [name for row in found.groups for name in row]
    return {
        number: {key: values[name] for key, values in named.items() if name in values}
        for number, name in enumerate(flat)
        if bool(started.get(name, False))
    }


def _rates(found: "Checkpoint", state: optax.OptState) -> list[float]:
    """The learning rate of each group, as a double."""
    groups = one_of(found.part("optimizer"))["param_groups"]
    watching = nodes_of(state, ScaleBySchedulersState)
    if watching:
        return [float(from_words(node.words)) for node in watching]
    was = [float(group["lr"]) for group in groups]
    try:
        now = funcsgd.get_learning_rate(state)
    except ValueError:
        return was
    rates = now if isinstance(now, list) else [now] * len(was)
    if sorted(float(rate) for rate in rates) != sorted(float(np.asarray(rate, rates[0].dtype)) for rate in was):
        raise ValueError(
            f"the learning rate is {[float(rate) for rate in rates]} now, and was {was}: what its scheduler's state is "
            "then only torch knows; torch_bridge.to_torch steps the script's scheduler to there"
        )
    return was


def _schedulers(found: "Checkpoint", state: optax.OptState, watching: list[Any], rates: list[float]) -> Any:
    listed = schedulers_of(found)
    if not all(map(is_plateau, listed)) or not watching:
        if updates_made(state) != updates_done(found):
            raise ValueError(
                "the checkpoint has a scheduler, whose state only torch can move on: torch_bridge.to_torch does, with "
                "the script's objects; or leave it out, keys={'scheduler': None}"
            )
        return found.part("scheduler")
    seen = watching[0].plateaus
    made = [
        {
            **old,
            "last_epoch": int(watching[0].last_epoch),
            "best": float(new.best),
            "num_bad_epochs": int(new.num_bad_epochs),
            "cooldown_counter": int(new.cooldown_counter),
            "_last_lr": list(rates),
        }
        for old, new in zip(listed, seen, strict=True)
    ]
    return made if isinstance(found.part("scheduler"), list) else made[0]
