"""A torch recipe in code: the equivalent in funcsgd, the nearest in plain optax, and what would differ there."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import funcsgd
from funcsgd import averages
from torch_bridge.translate.clip_grad import clipping_call
from torch_bridge.translate.lr_scheduler import has_plateau
from torch_bridge.translate.nearest_optax import FROZEN, nearest_average, nearest_clipping, nearest_rule
from torch_bridge.translate.optimizers import adapter_named, rule_of, with_numbers
from torch_bridge.translate.read import read_recipe
from torch_bridge.translate.recipe import AverageCall, Clip, Recipe, Untranslated
from torch_bridge.translate.schedule_data import described
from torch_bridge.translate.source import Code, Source, call

if TYPE_CHECKING:
    import torch
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.swa_utils import AveragedModel


class Explanation(NamedTuple):
    """The result of `explain`; ``print`` it.

    Attributes:
        funcsgd: Python source that leaves the equivalent optax transformation in ``tx``.
        optax: Python source for the nearest plain optax transformation; an average is a function ``follow`` beside it.
        differences: how the latter would differ from torch, a sentence each.
        functions: the functions of the recipe (of a LambdaLR, say) by the names that the source gives them.
    """

    funcsgd: str
    optax: str
    differences: tuple[str, ...]
    functions: dict[str, Callable[..., Any]]

    def __str__(self) -> str:
        lines = [f"# {name}: {described(function)}" for name, function in self.functions.items()]
        equal = "# funcsgd, equal in every bit to torch's for-loop, and to its foreach where the two are equal"
        parts = [equal, *lines, self.funcsgd]
        parts += ["# the nearest in plain optax", self.optax]
        parts += ["# which would differ:", *(f"# - {sentence}" for sentence in self.differences)]
        return "\n".join(parts if self.differences else parts[:-1])


@overload
def explain(optimizer: Recipe, *, epochs: int) -> Explanation: ...
@overload
def explain(
    optimizer: "torch.optim.Optimizer",
    scheduler: "LRScheduler | Sequence[LRScheduler] | None" = None,
    average: "AveragedModel | None" = None,
    *,
    clip: Mapping[str, Any] | None = None,
    named_parameters: Iterable[tuple[str, "torch.Tensor"]] | None = None,
    steps_per_epoch: int = 1,
    epochs: int | None = None,
) -> Explanation: ...
def explain(
    optimizer: "torch.optim.Optimizer | Recipe",
    scheduler: "LRScheduler | Sequence[LRScheduler] | None" = None,
    average: "AveragedModel | None" = None,
    *,
    clip: Mapping[str, Any] | None = None,
    named_parameters: Iterable[tuple[str, "torch.Tensor"]] | None = None,
    steps_per_epoch: int = 1,
    epochs: int | None = None,
) -> Explanation:
    """Write a torch recipe in code; the arguments are those of `torch_bridge.from_torch`.

    Args:
        optimizer: one of torch's that has a rule here; or a `Recipe`, such as ``recorded_recipe(trace.static)``, and
            then nothing else but ``epochs``.
        scheduler: its scheduler, or several in the order of their steps.
        average: an ``AveragedModel`` that is updated after each ``optimizer.step()``.
        clip: the arguments of ``clip_grad_norm_`` or ``clip_grad_value_``.
        named_parameters: ``model.named_parameters()``, unless the optimizer was made with names.
        steps_per_epoch: how many ``optimizer.step()`` lie between two ``scheduler.step()``.
        epochs: how many ``scheduler.step()`` the run makes: the length of the tables that schedules are read from, of
            which the last value holds beyond. Needed with schedulers; None without.

    Returns:
        An `Explanation`. ``exec(explanation.funcsgd, dict(explanation.functions))`` builds the transformation of a run
        from its beginning, for parameters by torch's names.

    Raises:
        TypeError: the optimizer has no rule here, or scheduler or average has no equivalent.
        ValueError: ``clip`` is of neither function, the learning rate in force is not the scheduler's, or ``epochs`` is
            missing.

    Exactness: the funcsgd source is bitwise.
    """
    recipe = (
        optimizer
        if isinstance(optimizer, Recipe)
        else read_recipe(
            optimizer,
            scheduler,
            average,
            clip=clip,
            named_parameters=named_parameters,
            steps_per_epoch=steps_per_epoch,
        )
    )
    adapter, source = adapter_named(recipe.optimizer), Source()
    rule_of(adapter)
    for part in recipe.untranslated:
        raise part.error()
    if epochs is None and any(group.schedulers for group in recipe.groups):
        raise ValueError("give epochs=, the number of scheduler.step() of the whole run: schedules become tables")
    turns_of = [[each for each in group.schedulers if not isinstance(each, Untranslated)] for group in recipe.groups]
    metric = any(map(has_plateau, turns_of))
    ours: list[str] = []
    theirs: list[str] = []
    differences: list[str] = []
    root = {"sqrt": Code(_root(recipe))} if adapter.takes_root and _root(recipe) else {}
    for group, turns in zip(recipe.groups, turns_of, strict=True):
        suffix = f"_{len(ours)}" if len(recipe.groups) > 1 else ""
        scheduled = source.hyperparameters(turns, adapter, suffix, recipe.steps_per_epoch, epochs or 0)
        options = with_numbers(group.options, scheduled)
        nearest, words = nearest_rule(adapter, options, turns, recipe.steps_per_epoch, source.function)
        ours.append(source.rule(adapter, options | root))
        theirs.append(nearest)
        differences += words
    ours, theirs = [f"tx = {_partition(ours, recipe.labels)}"], [f"tx = {_partition(theirs, recipe.labels)}"]

    first = []
    mask = {name: name in recipe.frozen for name in recipe.labels}
    if recipe.frozen:
        first.append(f"funcsgd.drop_gradients({mask!r})")
    if isinstance(recipe.clip, Clip):
        name, options = clipping_call(recipe.clip.arguments, recipe.clip.order)
        first.append(call(getattr(funcsgd, name), [], options, "funcsgd."))
        nearest, words = nearest_clipping(name, options)
        theirs.append(f"tx = optax.chain({nearest}, tx)")
        differences += words
    if first:
        ours.append(f"tx = optax.chain({', '.join(first)}, tx)")
    if recipe.frozen:
        theirs.append(f"tx = optax.selective_transform(tx, freeze_mask={mask!r})")
        differences.append(FROZEN)
    if isinstance(recipe.average, AverageCall):
        average_of = call(getattr(averages, recipe.average.name), [], recipe.average.options, "funcsgd.averages.")
        ours.append(f"tx = funcsgd.averages.with_average(tx, {average_of})")
        nearest, words = nearest_average(recipe.average.name, recipe.average.options)
        theirs.append(nearest)
        differences += words
    if metric:
        ours.append("# tx.update(grads, state, params, value=the metric of the epoch before)")
        theirs.append("# tx.update(grads, state, params, value=the metric)")

    imports = ["import funcsgd", *["import optax"] * any("optax." in line for line in ours), *source.imports()]
    if "torch_bridge." in str(root):
        imports.append("import torch_bridge")
    return Explanation(
        "\n".join([*imports, "", *source.definitions, *ours, ""]),
        "\n".join(["import optax", "", *theirs, ""]),
        tuple(dict.fromkeys(differences)),
        source.functions,
    )


def _root(recipe: Recipe) -> str:
    """Source of torch's square root; empty for the default."""
    if recipe.root is None or recipe.root.name in ("correct", "unknown"):
        return ""
    return repr(recipe.root.name) if recipe.root.name == "mkl_avx512" else "torch_bridge.torch_root()"


def _partition(rules: list[str], labels: dict[str, int]) -> str:
    if len(rules) == 1:
        return rules[0]
    body = "".join(f"        {index}: {rule},\n" for index, rule in enumerate(rules))
    return f"optax.partition(\n    {{\n{body}    }},\n    {labels!r},\n)"
