"""The state of a JAX rule, with what a torch checkpoint holds in it."""

import warnings
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcsgd
from funcsgd.averages import AverageState
from funcsgd.stages import ScaleBySchedulersState
from torch_bridge.checkpoint.names import bare_names
from torch_bridge.checkpoint.parts import one_of
from torch_bridge.checkpoint.state_keys import check_state_keys
from torch_bridge.translate.scheduled import schedulers_at
from torch_bridge.translate.states import nodes_of, with_torch_state
from torch_bridge.weights import Weights
from torch_bridge.weights.jax_side import without_graph

if TYPE_CHECKING:
    from torch_bridge.checkpoint.checkpoint import Checkpoint


_COUNTS = ("count", "gradient_step")
"""What states call the number of updates made; the second is of ``optax.MultiSteps``."""


class Continued(NamedTuple):
    """The result of `Checkpoint.to_jax`.

    Attributes:
        params: the parameters.
        state: the rule's state, ready for the next update.
    """

    params: Any
    state: optax.OptState


def continued(
    found: "Checkpoint", tx: optax.GradientTransformation, weights: Weights, steps_per_epoch: int, steps: int | None
) -> Continued:
    """Return parameters and state of a checkpoint; see `Checkpoint.to_jax`."""
    params = weights.to_jax(found.model)
    tree = without_graph(params)
    optimizer = one_of(found.part("optimizer"))
    done = updates_done(found, steps_per_epoch) if steps is None else steps
    state = _counted(tx, tree, done)
    state = _scheduled(state, found, done)
    _check_keys(state, found, optimizer, weights, tree)
    state = with_torch_state(state, tree, found.adapter, _by_key(found, optimizer, weights, tree))
    state = _averaged(state, found, weights, done)
    _check_rates(state, [float(group["lr"]) for group in optimizer["param_groups"]], done)
    return Continued(params, state)


def updates_done(found: "Checkpoint", steps_per_epoch: int = 1) -> int:
    """Return how many updates a checkpoint counts, by its optimizer, its step or its scheduler; 0 if it counts none."""
    counts = [int(held["step"]) for held in one_of(found.part("optimizer"))["state"].values() if "step" in held]
    if counts:
        return max(counts)
    if "step" in found.keys:
        return int(found.part("step"))
    epochs = [each["last_epoch"] for each in schedulers_of(found) if "last_epoch" in each]
    return max(epochs, default=0) * steps_per_epoch


def schedulers_of(found: "Checkpoint") -> list[dict[str, Any]]:
    """Return the state dicts of a checkpoint's schedulers."""
    if "scheduler" not in found.keys:
        return []
    part = found.part("scheduler")
    return list(part) if isinstance(part, list) else [part]


def is_plateau(scheduler: Mapping[str, Any]) -> bool:
    """Return True for the state dict of a ReduceLROnPlateau."""
    return {"best", "num_bad_epochs", "cooldown_counter"} <= set(scheduler)


def leaf_tensors(weights: Weights, tree: Any) -> list[str | None]:
    """Return for each leaf of the JAX parameters the first torch tensor that it is made of."""
    first: list[str | None] = [None] * len(jax.tree.leaves(tree))
    for pair in weights.pairs:
        first[pair.leaf] = pair.tensors[0]
    return first


def _counted(tx: optax.GradientTransformation, params: Any, done: int) -> optax.OptState:
    """A fresh state as it is after so many updates, but for what depends on the gradients."""

    def move(state: Any, count: int) -> Any:
        def at(node: Any) -> Any:
            if not _counts(node):
                return node
            inside = {field: move(each, count) for field, each in zip(node._fields, node, strict=True)}
            own = next(name for name in _COUNTS if name in inside)
            return node._replace(**inside | {own: jnp.full_like(inside[own], count)})

        return jax.tree.map(at, state, is_leaf=_counts)

    state = move(tx.init(params), done)
    if not done or not any(map(_has_rate, jax.tree.leaves(state, is_leaf=_has_rate))):
        return state

    # What a schedule sets for the next update is known after the one before: that is made, and nothing else kept of it.
    @jax.jit
    def rates(params: Any, before: optax.OptState) -> list[Any]:
        zeros = jax.tree.map(jnp.zeros_like, params)

        def update(state: optax.OptState) -> optax.OptState:
            return optax.with_extra_args_support(tx).update(zeros, state, params, value=jnp.zeros(()))[1]

        def waits(state: optax.OptState) -> jax.Array:  # for the last gradients that are accumulated
            made: jax.Array = nodes_of(state, optax.MultiStepsState)[0].gradient_step
            return made < done

        accumulates = bool(nodes_of(before, optax.MultiStepsState))
        after = jax.lax.while_loop(waits, update, before) if accumulates else update(before)
        return [node for node in jax.tree.leaves(after, is_leaf=_has_rate) if _has_rate(node)]

    following = iter(rates(params, move(state, done - 1)))
    return jax.tree.map(lambda node: next(following) if _has_rate(node) else node, state, is_leaf=_has_rate)


def _counts(node: Any) -> bool:
    """Whether a node counts updates; an average counts parameters."""
    if isinstance(node, AverageState) or not isinstance(node, tuple):
        return False
    return any(name in getattr(node, "_fields", ()) for name in _COUNTS)


def _has_rate(node: Any) -> bool:
    """Whether a node holds a learning rate that the rule itself sets."""
    return hasattr(node, "learning_rate") and not isinstance(node, ScaleBySchedulersState)


def _scheduled(state: optax.OptState, found: "Checkpoint", done: int) -> optax.OptState:
    """What depends on a metric that was seen: learning rates, and the history of each ReduceLROnPlateau."""
    nodes = nodes_of(state, ScaleBySchedulersState)
    if not nodes:
        return state
    rates = [float(group["lr"]) for group in one_of(found.part("optimizer"))["param_groups"]]
    plateaus = [each for each in schedulers_of(found) if is_plateau(each)]
    if any(len(node.plateaus) != len(plateaus) for node in nodes) or not plateaus:
        raise ValueError(
            f"the rule has {len(nodes[0].plateaus)} ReduceLROnPlateau, the checkpoint {len(plateaus)}: give the rule "
            "what the script steps, and say where its schedulers are by keys={'scheduler': ...}"
        )
    if len(nodes) != len(rates):
        raise ValueError(f"the rule has {len(nodes)} learning rates, the checkpoint {len(rates)} parameter groups")
    _check_labels(state, rates)
    following = iter(rates)
    seen, epochs = [SimpleNamespace(**each) for each in plateaus], int(plateaus[0]["last_epoch"])

    def place(node: Any) -> Any:
        if not isinstance(node, ScaleBySchedulersState):
            return node
        return schedulers_at(node, next(following), seen, done, epochs)

    return jax.tree.map(place, state, is_leaf=lambda node: isinstance(node, ScaleBySchedulersState))


def _check_labels(state: optax.OptState, rates: Sequence[float]) -> None:
    """A partition has its parts in the order of their labels, which must be that of torch's groups."""
    parts = [node.inner_states for node in nodes_of(state, optax.transforms.PartitionState)]
    if len(set(rates)) > 1 and any(list(labels) != list(range(len(rates))) for labels in parts):
        raise ValueError(
            f"the labels of the optax.partition are {', '.join(map(repr, parts[0]))}, which does not say which group "
            f"of torch's each is: label them 0 to {len(rates) - 1}, in torch's order"
        )


def _by_key(found: "Checkpoint", optimizer: Any, weights: Weights, tree: Any) -> dict[str, Any]:
    """Torch's keys -> trees like the parameters."""
    structure: Any = jax.tree.structure(tree)
    flat = [name for row in found.groups for name in row]
    values: dict[str, Any] = {}
    for key in found.adapter.state:
        held = {flat[number]: each[key] for number, each in optimizer["state"].items() if each.get(key) is not None}
        if key not in found.adapter.scalars:
            values[key] = without_graph(weights.to_jax(held, partial=True))
        else:
            names = leaf_tensors(weights, tree)
            values[key] = structure.unflatten([None if name is None else held.get(name) for name in names])
    return values


def _check_keys(
    state: optax.OptState, found: "Checkpoint", optimizer: Mapping[str, Any], weights: Weights, tree: Any
) -> None:
    flat = [name for row in found.groups for name in row]
    held = {flat[number]: each for number, each in optimizer["state"].items()}
    names = [str(name) for name in leaf_tensors(weights, tree)]
    check_state_keys(state, tree, found.adapter, [held.get(name, {}) for name in names], names)


def _averaged(state: optax.OptState, found: "Checkpoint", weights: Weights, done: int) -> optax.OptState:
    nodes = nodes_of(state, AverageState)
    if not nodes:
        if "average" in found.keys:
            warnings.warn(
                f"the average under {found.keys['average']!r} is left behind, as the rule keeps none: put "
                "funcsgd.averages.with_average around the rule, or leave it out by keys={'average': None}",
                stacklevel=4,
            )
        return state
    if len(nodes) > 1:
        raise ValueError(f"the rule keeps {len(nodes)} averages, the checkpoint has one: restore it into one of them")
    average = dict(found.part("average"))
    n = int(average.pop("n_averaged", max(done, 1)))
    kept = {short: average[name] for short, name in bare_names(list(average)).items()}
    # It has counted the updates before its first set too.
    made = AverageState(jnp.int32(max(n, done)), jnp.int32(n), without_graph(weights.to_jax(kept)), ())

    def place(node: Any) -> Any:
        return made if isinstance(node, AverageState) else node

    return jax.tree.map(place, state, is_leaf=lambda node: isinstance(node, AverageState))


def _check_rates(state: optax.OptState, rates: Sequence[float], done: int) -> None:
    try:
        found = funcsgd.get_learning_rate(state)
    except ValueError:  # the rule does not keep it where it can be read
        return
    ours = {float(rate) for rate in (found if isinstance(found, list) else [found])}
    dtype = (found[0] if isinstance(found, list) else found).dtype
    theirs = {float(np.asarray(rate, dtype)) for rate in rates}
    if not all(any(a == b or a != a != b for b in theirs) for a in ours) or len(ours) < len(theirs):
        raise ValueError(
            f"after {done} updates the learning rate of the rule is {sorted(ours)}, that of the checkpoint "
            f"{sorted(theirs)}: give the rule the script's schedule from its beginning, and steps_per_epoch or "
            "steps_done where they are others"
        )
