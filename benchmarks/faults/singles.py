"""Every planted fault of a recipe, one at a time."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import optax

from benchmarks.faults.port import Place, Port
from benchmarks.faults.recipe import Recipe
from tests.support.planted import examples, losses, outside
from tests.support.planted.decay import DECAY
from tests.support.planted.numbers import Planted, rule
from tests.support.planted.orders import ORDERS
from tests.support.planted.rules import RULES, of_recipe
from torch_bridge.judge.causes import statistics
from torch_bridge.replaying.batches import indices_of
from torch_bridge.trace.trace import in_phase

LEAST = 62
"""So many faults has each recipe at least."""
SHARED = 24
"""So many of them, at least, are such that any recipe can have."""
STATISTICS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    statistics.BIASED.name: ({"correction": 0}, ("running_var",)),
    statistics.REVERSED.name: ({"momentum": 0.9}, ("running_mean", "running_var")),
    statistics.OTHER_MOMENTUM.name: ({"momentum": 0.01}, ("running_mean", "running_var")),
    statistics.NOT_COUNTED.name: ({"count": 0}, ("num_batches_tracked",)),
}
"""Entry -> options of the port's norm, the buffers that it shows in."""


def right(recipe: Recipe, **changed: Any) -> dict[str, Any]:
    """The arguments of `torch_bridge.check` for the right port, some of them changed."""
    made = {"tx": rule(recipe.numbers), "loss_fn": recipe.right_loss, "data": recipe.batch}
    return made | ({"buffers": True} if recipe.buffers else {}) | changed


def order_of(recipe: Recipe) -> list[np.ndarray]:
    """Torch's batches of indices."""
    batches = [indices_of(recipe.trace.step(t)) for t in range(recipe.trace.n_steps)]
    return [batch for batch in batches if batch is not None]


def made(
    recipe: Recipe, name: str, family: str, place: Callable[[], Place], known: bool = True, **changed: Callable[[], Any]
) -> Port:
    """A port of a recipe with one fault, ``changed`` in the arguments of the right one."""

    def arguments() -> dict[str, Any]:
        return right(recipe, **{key: make() for key, make in changed.items()})

    return Port(recipe.name, (name,), (name,) * known, (place(),), lambda: recipe.trace, arguments, family)


def entering(recipe: Recipe, changed: dict[str, Any]) -> list[dict[str, np.ndarray]]:
    """What enters the momentum or the averages at each step, in float64 and for torch's gradients."""
    outside = {"inner": None, "decoupled": None, "average": None, "rate": optax.identity()}
    found = []
    with jax.enable_x64(True):
        tx = rule(recipe.numbers, **{**outside, **{k: v for k, v in changed.items() if k not in outside}})
        for t in range(recipe.trace.n_steps):
            params, gradients = (
                {name: np.asarray(value, np.float64) for name, value in in_phase(step, phase).items()}
                for step, phase in ((recipe.trace.before(t), "parameter"), (recipe.trace.step(t), "gradient"))
            )
            made, _ = tx.update(gradients, tx.init(params), params)
            found.append({name: np.asarray(value) for name, value in made.items()})
    return found


def first_shown(recipe: Recipe, planted: Planted) -> tuple[int, frozenset[str]]:
    """The first step that shows a fault in front of the momentum, and the parameters that do.

    There are none if no step does, and none for a clipping that is no other than none at all in this run.
    """
    right, wrong, missing = (
        entering(recipe, changed) for changed in ({}, planted.replaces(recipe.numbers), {"clip": None})
    )

    def off(t: int, others: list[dict[str, np.ndarray]]) -> frozenset[str]:
        own = wrong[t]
        return frozenset(name for name in own if not np.allclose(own[name], others[t][name], rtol=1e-9, atol=0))

    steps = [t for t in range(len(right)) if off(t, right)]
    is_missing = planted is not RULES["clip-missing"] and not any(off(t, missing) for t in range(len(right)))
    return (0, frozenset()) if not steps or is_missing else (steps[0], off(steps[0], right))


def of_rule(recipe: Recipe, name: str, planted: Planted, known: bool = True) -> Port | None:
    """A fault of the update rule; None if it changes no number of this run."""
    n = recipe.numbers
    step = planted.step(n) if callable(planted.step) else planted.step
    leaves, groups = recipe.leaves(planted.leaves), recipe.groups(planted.leaves)
    if set(planted.replaces(n)) <= {"clip", "decay"}:
        step, leaves = first_shown(recipe, planted)
    elif not known:
        leaves &= first_moved(recipe, planted)
    elif name in DECAY:  # of zeros, as a norm's bias is at first, decay is nothing
        before = recipe.trace.before(step)
        leaves = frozenset(leaf for leaf in leaves if np.any(before[f"parameter/{leaf}"]))
    if not leaves:
        return None
    names = {n.state if phase == "state" else phase: leaves for phase in planted.shows}
    return made(recipe, name, "rule", lambda: Place(step, names, groups), known, tx=lambda: planted.port(n))


def with_gradient(recipe: Recipe) -> frozenset[str]:
    """The parameters whose first gradient is more than rounding, which that of a bias before a norm is."""
    gradients = in_phase(recipe.trace.twins[0], "gradient")
    sizes = {name: np.linalg.norm(gradient) for name, gradient in gradients.items()}
    return frozenset(name for name, size in sizes.items() if size > 1e-9 * max(sizes.values()))


def first_moved(recipe: Recipe, planted: Planted) -> frozenset[str]:
    """The parameters that the first update moves otherwise than the right rule does."""
    n, step = recipe.numbers, recipe.trace.step(0)
    with jax.enable_x64(True):
        params, gradients = (
            {name: np.asarray(value, np.float64) for name, value in in_phase(of, phase).items()}
            for of, phase in ((recipe.trace.initial, "parameter"), (step, "gradient"))
        )
        right, wrong = (tx.update(gradients, tx.init(params), params)[0] for tx in (rule(n), planted.port(n)))
        return frozenset(name for name in right if not np.allclose(right[name], wrong[name], rtol=1e-9, atol=0))


def of_loss(recipe: Recipe, name: str, wrong: Any, phase: str, leaves: str = "") -> Port:
    """A fault of the loss function, in the loss or in gradients."""
    names = recipe.leaves(leaves) if leaves else frozenset({""})
    if name == "decay-in-gradient":  # of zeros decay is nothing
        names = frozenset(leaf for leaf in names if np.any(recipe.trace.initial[f"parameter/{leaf}"]))
    elif phase == "gradient":
        names &= with_gradient(recipe)
    place = Place(0, {phase: names})
    return made(recipe, name, phase, lambda: place, loss_fn=lambda: wrong(recipe.right_loss))


def of_examples(recipe: Recipe, name: str, wrong: Any, place: Place) -> Port:
    """A fault of the examples of a batch."""
    return made(
        recipe, name, "data", lambda: place, data=lambda: lambda step, indices: wrong(recipe.batch(step, indices))
    )


def of_order(recipe: Recipe, name: str, wrong: Any) -> Port:
    """A fault of the order."""
    torchs = order_of(recipe)
    mine = wrong(torchs)
    step = next(t for t in range(len(torchs)) if not np.array_equal(torchs[t], mine[t]))
    place = Place(step, {"data": frozenset({""})})
    return made(recipe, name, "order", lambda: place, order=lambda: mine)


def of_layer(recipe: Recipe, name: str, options: dict[str, Any], layer: str, entries: tuple[str, ...]) -> Port:
    """A fault of a layer's forward pass."""
    place = Place(0, {"forward": frozenset({layer})})
    wrong = options.pop("wrong", {})
    return Port(
        recipe.name, (name,), entries, (place,), lambda: recipe.trace,
        lambda: right(recipe, loss_fn=recipe.loss(wrong, **options)), "forward",
    )  # fmt: skip


def singles(recipe: Recipe) -> Iterator[Port]:
    """Yield the ports with one fault of the catalogue: all of this recipe's rule and net, and some that any can have.

    Which of the latter is drawn for each recipe, so that every one of them is in several recipes.
    """
    own, general = list(_of_recipe(recipe)), list(_general(recipe))
    yield from own
    drawn = random.Random(recipe.name).sample(range(len(general)), max(LEAST - len(own), SHARED))
    yield from (general[i] for i in sorted(drawn))


def _of_recipe(recipe: Recipe) -> Iterator[Port]:
    """Faults of the update rule, of layers, of running statistics."""
    for name, planted in of_recipe(recipe.numbers).items():
        if (port := of_rule(recipe, name, planted)) is not None:
            yield port
    for name, (options, layer, entries) in recipe.forward.items():
        yield of_layer(recipe, name, dict(options), layer, entries)
    if recipe.buffers:
        yield from _of_statistics(recipe)


def _general(recipe: Recipe) -> Iterator[Port]:
    """Faults of the loss, of gradients, of the examples and their order, of precision."""
    first, loss = Place(0, {"forward": frozenset({recipe.layers[0]})}), Place(0, {"loss": frozenset({""})})
    of_value = {**losses.LOSS, **(losses.OF_TARGETS if recipe.targets > 1 else {})}
    if recipe.classes:
        of_value |= {name: make(recipe.classes) for name, make in losses.LABELLED.items()}
    for name, wrong in of_value.items():
        yield of_loss(recipe, name, wrong, "loss")
    for name, wrong in losses.GRADIENT.items():
        yield of_loss(recipe, name, wrong, "gradient", "all")
    for name, wrong in losses.FROZEN.items():
        yield of_loss(recipe, name, wrong, "gradient", "first matrix")
    inputs = {**examples.INPUTS, **(examples.IMAGES if recipe.images else {})}
    for name, wrong in inputs.items():
        yield of_examples(recipe, name, wrong, first)
    targets = {**examples.TARGETS, **(examples.SEVERAL if recipe.targets > 2 else {})}
    if recipe.classes:
        targets |= {name: make(recipe.classes) for name, make in examples.LABELS.items()}
    for name, wrong in targets.items():
        yield of_examples(recipe, name, wrong, loss)
    for name, wrong in ORDERS.items():
        if name != "last-batch-dropped" or len({len(batch) for batch in order_of(recipe)}) > 1:
            yield of_order(recipe, name, wrong)
    for name, wrong in losses.NARROW.items():
        yield made(recipe, name, "precision", lambda: first, loss_fn=lambda wrong=wrong: wrong(recipe.right_loss))


def _of_statistics(recipe: Recipe) -> Iterator[Port]:
    kept = {statistics.NOT_UPDATED.name: ({"keep": True}, ("running_mean", "running_var", "num_batches_tracked"))}
    for name, (options, roles) in {**STATISTICS, **kept}.items():
        buffers = [key.partition("/")[2] for key in recipe.trace.keys if key.startswith("buffer/")]
        names = frozenset(buffer for buffer in buffers if buffer.rpartition(".")[2] in roles)
        yield made(
            recipe, name, "statistics", lambda names=names: Place(0, {"buffer": names}),
            loss_fn=lambda options=options: recipe.loss({}, **options),
        )  # fmt: skip


def unknown(recipe: Recipe) -> Iterator[Port]:
    """Yield the ports with a fault outside the catalogue."""
    for name, planted in outside.OF_RULE.items():
        if planted.when(recipe.numbers) and (port := of_rule(recipe, name, planted, known=False)) is not None:
            yield port
    for name, wrong in outside.OF_LAYER.items():
        layer = recipe.layers[0] if name == "units rolled" else recipe.layers[-1]
        yield of_layer(recipe, name, {"wrong": {layer: wrong}}, layer, ())
