"""A torch recipe told in code: the equivalent in funcsgd, the nearest in plain optax, and what would differ there."""

import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import funcsgd
from funcsgd import schedules
from funcsgd.schedules import Schedule
from torch_bridge.translate.lr_scheduler import schedules_from_torch
from torch_bridge.translate.nearest_optax import nearest_schedule, sgd_differences
from torch_bridge.translate.optim import group_hyperparameters, parameter_names

if TYPE_CHECKING:
    import torch
    from torch.optim.lr_scheduler import LRScheduler


class Explanation(NamedTuple):
    """What `explain` says; ``print`` it.

    Attributes:
        funcsgd: Python source that leaves the equivalent optax transformation in ``tx``.
        optax: Python source for the nearest plain optax transformation.
        differences: how the latter would differ from torch, a sentence each.
        functions: the functions of the recipe (of a LambdaLR, say) by the names that the source gives them.
    """

    funcsgd: str
    optax: str
    differences: tuple[str, ...]
    functions: dict[str, Callable[..., Any]]

    def __str__(self) -> str:
        lines = [f"# {name}: {_described(function)}" for name, function in self.functions.items()]
        parts = ["# funcsgd, equal to torch in every bit", *lines, self.funcsgd]
        parts += ["# the nearest in plain optax", self.optax]
        return "\n".join([*parts, "# which would differ:", *(f"# - {sentence}" for sentence in self.differences)])


def explain(
    optimizer: "torch.optim.Optimizer",
    scheduler: "LRScheduler | None" = None,
    *,
    steps_per_epoch: int = 1,
    epochs: int = 1000,
) -> Explanation:
    """Tell a torch recipe in code.

    Args:
        optimizer: a ``torch.optim.SGD``.
        scheduler: its scheduler; see `torch_bridge.from_torch`.
        steps_per_epoch: how many ``optimizer.step()`` lie between two ``scheduler.step()``.
        epochs: how many ``scheduler.step()`` the run makes.

    Returns:
        An `Explanation`. ``exec(explanation.funcsgd, dict(explanation.functions))`` builds the transformation of a run
        from its beginning, for parameters by torch's names.

    Raises:
        TypeError: the optimizer is not torch.optim.SGD, or the scheduler has no equivalent.

    Exactness: the funcsgd source is bitwise.
    """
    import torch

    if type(optimizer) is not torch.optim.SGD:
        raise TypeError(f"explain tells of torch.optim.SGD, but got {type(optimizer).__name__}")
    source = _Source()
    found = schedules_from_torch(scheduler) if scheduler is not None else [None] * len(optimizer.param_groups)
    ours: list[str] = []
    theirs: list[str] = []
    differences: list[str] = []
    for group, schedule in zip(optimizer.param_groups, found, strict=True):
        options = group_hyperparameters(group)
        rate: str = repr(options.pop("lr"))
        nearest_rate = rate
        if schedule is not None:
            suffix = f"_{len(ours)}" if len(found) > 1 else ""
            rate = source.define(f"learning_rate{suffix}", schedule, steps_per_epoch, epochs)
            if schedule.momentum is not None:
                options["momentum"] = source.define(f"momentum{suffix}", schedule, steps_per_epoch, epochs)
            nearest_rate, words = nearest_schedule(schedule, source.function)
            if steps_per_epoch != 1:
                nearest_rate = f"lambda count: ({nearest_rate})(count // {steps_per_epoch})"
            differences += words
        ours.append(_call("funcsgd.sgd", [rate], options, inspect.signature(funcsgd.sgd)))
        nearest, words = _nearest_sgd(nearest_rate, options)
        theirs.append(nearest)
        differences += words
    labels = {name: index for index, names in enumerate(parameter_names(optimizer)) for name in names}
    imports = ["import funcsgd", *source.imports()]
    if len(ours) > 1:
        imports.insert(1, "import optax")
    return Explanation(
        "\n".join([*imports, "", *source.definitions, f"tx = {_partition(ours, labels)}", ""]),
        "\n".join(["import optax", "", f"tx = {_partition(theirs, labels)}", ""]),
        tuple(dict.fromkeys(differences)),
        source.functions,
    )


class _Source:
    """Writes schedules as calls, and gathers what the calls need."""

    def __init__(self) -> None:
        self.functions: dict[str, Callable[..., Any]] = {}
        self.definitions: list[str] = []
        self._names: set[str] = set()

    def imports(self) -> list[str]:
        return [f"from funcsgd.schedules import {', '.join(sorted(self._names))}"] if self._names else []

    def define(self, name: str, schedule: Schedule, steps_per_epoch: int, epochs: int) -> "_Code":
        """Write ``name = ...``, the schedule's learning rate or momentum as a function of the number of updates."""
        self._names |= {"per_epoch", "tabulate"}
        part = ".momentum" if name.startswith("momentum") else ""
        n = min(epochs, getattr(schedule, "total_steps", epochs) + 1)
        source = f"per_epoch(tabulate({self.schedule(schedule)}{part}, {n}), {steps_per_epoch})"
        self.definitions.append(f"{name} = {source}")
        return _Code(name)

    def schedule(self, schedule: Schedule) -> str:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(schedule).__name__).lower()
        self._names.add(name)
        signature = inspect.signature(getattr(schedules, name))
        options = {key: getattr(schedule, key, None) for key in signature.parameters}
        return _call(name, [], {key: self._value(value) for key, value in options.items()}, signature)

    def _value(self, value: Any) -> Any:
        if isinstance(value, Schedule):
            return _Code(self.schedule(value))
        if isinstance(value, list | tuple):
            return _Code(f"[{', '.join(repr(self._value(item)) for item in value)}]")
        return _Code(self.function(value)) if callable(value) else value

    def function(self, function: Callable[..., Any]) -> str:
        """The name that a function of the recipe gets, one for each function."""
        for name, known in self.functions.items():
            if known is function:
                return name
        name = f"function_{len(self.functions)}"
        self.functions[name] = function
        return name


class _Code(str):
    """Source that stands for itself."""

    def __repr__(self) -> str:
        return str(self)


def _call(name: str, arguments: list[str], options: dict[str, Any], signature: inspect.Signature) -> str:
    """A call without the options that are defaults."""
    defaults = {key: parameter.default for key, parameter in signature.parameters.items()}
    said = [
        f"{key}={value!r}"
        for key, value in options.items()
        if defaults[key] is inspect.Parameter.empty or value != defaults[key]
    ]
    return f"{name}({', '.join([*arguments, *said])})"


def _nearest_sgd(rate: str, options: dict[str, Any]) -> tuple[str, list[str]]:
    momentum = options["momentum"]
    sgd = f"optax.sgd({rate}"
    if momentum != 0:
        sgd += f", momentum={momentum if not isinstance(momentum, str) else 0.9}"
    sgd += ", nesterov=True)" if options["nesterov"] else ")"
    stages = ["optax.scale(-1.0)"] * options["maximize"]
    if options["weight_decay"] != 0:
        stages.append(f"optax.add_decayed_weights({options['weight_decay']!r})")
    nearest = f"optax.chain({', '.join([*stages, sgd])})" if stages else sgd
    return nearest, sgd_differences(options)


def _partition(rules: list[str], labels: dict[str, int]) -> str:
    if len(rules) == 1:
        return rules[0]
    body = "".join(f"        {index}: {rule},\n" for index, rule in enumerate(rules))
    return f"optax.partition(\n    {{\n{body}    }},\n    {labels!r},\n)"


def _described(function: Callable[..., Any]) -> str:
    try:
        return inspect.getsource(function).strip().splitlines()[0]
    except (OSError, TypeError):
        return repr(function)
