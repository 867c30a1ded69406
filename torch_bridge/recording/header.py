"""A trace's description of a PyTorch run: versions, platform, groups, shapes, and what could not be recorded."""

import contextlib
import platform
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from torch_bridge.recording.optimizer_view import OptimizerView
from torch_bridge.trace.digest import digest
from torch_bridge.trace.phases import name_of, phase_of
from torch_bridge.trace.trace import Array
from torch_bridge.translate.recipe import Recipe, Scheduler, Untranslated
from torch_bridge.translate.recipe_data import recipe_to_data


class Header:
    """The header of a recorded run, plain data fit for JSON, which grows with the run.

    Attributes:
        data: for ``Trace.static``. ``"not_recorded"`` holds sentences on what could not be recorded; each is also given
            once as a warning.
    """

    def __init__(self, view: OptimizerView, recipe: Recipe, notify: Callable[[str], None] | None = None) -> None:
        """Describe a run at its beginning.

        Args:
            view: of its optimizer.
            recipe: what it trains with.
            notify: takes each sentence on what could not be seen; None gives warnings.
        """
        import torch

        self.data: dict[str, Any] = {
            "side": "torch",
            "versions": {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()},
            "platform": {
                "machine": platform.machine(),
                "system": platform.system(),
                "cpu_capability": torch.backends.cpu.get_cpu_capability(),
                "threads": torch.get_num_threads(),
            },
            "settings": {
                "float32_matmul_precision": torch.get_float32_matmul_precision(),
                "seeds": [torch.initial_seed()],
                "generator": "".join(f"{int(word):016x}" for word in digest(torch.get_rng_state().numpy())),
            },
            "numbers": [number.quantity for number in view.adapter.numbers],
        }
        self._recipe = recipe
        self._notify = notify or warn
        self._changed: set[tuple[int, str]] = set()
        self.describe(view)

    def describe(self, view: OptimizerView) -> None:
        """Describe the groups and parameters as they are now; earlier groups keep their description."""
        groups = list(self._recipe.groups)
        for index, group in enumerate(view.groups()):
            groups[index : index + 1] = [replace(groups[index], names=group.names) if index < len(groups) else group]
        self._recipe = replace(self._recipe, groups=tuple(groups))
        self.data["recipe"] = recipe_to_data(self._recipe)
        self.describe_state(view)
        self.data["shapes"] = {name: list(p.shape) for _, name, p in view.parameters()}
        self.data["dtypes"] = {name: str(p.dtype).removeprefix("torch.") for _, name, p in view.parameters()}

    def amend(self, schedulers: Sequence[Sequence[Scheduler]] | None = None, **parts: Any) -> None:
        """Put into the recipe what was found during the run.

        Args:
            schedulers: of each group; None leaves them as they are.
            parts: fields of `Recipe`.
        """
        groups = self._recipe.groups
        if schedulers is not None:
            rows = [*map(tuple, schedulers), *((),) * len(groups)]
            groups = tuple(replace(group, schedulers=row) for group, row in zip(groups, rows, strict=False))
        self._recipe = replace(self._recipe, groups=groups, **parts)
        self.data["recipe"] = recipe_to_data(self._recipe)

    def describe_state(self, view: OptimizerView) -> None:
        """Note what the optimizer is known to compute and to hold by now."""
        self.data["quantities"], self.data["state"] = list(view.adapter.quantities), list(view.adapter.state)

    def note_arithmetic(self, view: OptimizerView, step: int) -> None:
        """Note what makes torch calculate otherwise than one rule for the whole run would; the recipe names the first.

        That is a hyperparameter that chooses a form of the rule and is not what it was at the beginning, or a tensor of
        a narrower dtype, see `Adapter.narrow`.
        """
        for index, (known, group) in enumerate(zip(self._recipe.groups, view.optimizer.param_groups, strict=False)):
            for flag in view.adapter.flags:
                if (
                    flag in group
                    and bool(group[flag]) != known.options.get(flag)
                    and (index, flag) not in self._changed
                ):
                    self._changed.add((index, flag))
                    self._note_arithmetic(
                        view,
                        f"{flag} of group {index} was set to {bool(group[flag])} before step {step}: the recipe in the "
                        "header has the first value for the whole run. Record that part as a run of its own.",
                    )
            if sentence := view.adapter.narrow(group):
                self._note_arithmetic(view, sentence)

    def _note_arithmetic(self, view: OptimizerView, sentence: str) -> None:
        self.note(sentence)
        if self._recipe.arithmetic is None:
            self.amend(arithmetic=Untranslated(view.adapter.name, sentence, "ValueError"))

    def describe_batch(self, step: int, structure: Any, leaves: Mapping[str, Array]) -> bool:
        """Note of what a batch that is kept is made, and where its shapes are not the first ones.

        Returns:
            False if it cannot be kept beside the earlier ones.
        """
        if not leaves:
            return True
        shapes = self.data.setdefault("batch_shapes", {})
        first = {name: shapes.get(f"batch/{name}", {}).get("first", np.shape(leaf)) for name, leaf in leaves.items()}
        if self.data.setdefault("batch", structure) != structure or any(
            len(first[name]) != np.ndim(leaf) for name, leaf in leaves.items()
        ):
            return False
        for name, leaf in leaves.items():
            rows = shapes.setdefault(f"batch/{name}", {"first": list(first[name])})
            if list(np.shape(leaf)) != rows["first"]:
                rows[str(step)] = list(np.shape(leaf))
        return True

    def describe_twin(self, step: int, twin: Mapping[str, Array]) -> None:
        """Note that a step was evaluated in float64, and of which layers."""
        twins = self.data["twins"]
        twins["steps"].append(step)
        layers = [name_of(key) for key in twin if phase_of(key) == "forward"]
        twins["layers"] += [layer for layer in layers if layer not in twins["layers"]]

    def note_no_twin(self, step: int, reason: str) -> None:
        """Note why a step was not evaluated in float64, and warn once for each reason."""
        reasons = self.data["twins"]["reasons"]
        if reason not in reasons.values():
            self.note(f"step {step} is not evaluated in float64: {reason}")
        reasons[str(step)] = reason

    def note(self, sentence: str) -> None:
        """Keep a sentence on what could not be recorded, and give it as a warning the first time."""
        notes = self.data.setdefault("not_recorded", [])
        if sentence not in notes:
            notes.append(sentence)
            self._notify(sentence)


def warn(sentence: str) -> None:
    """Give a warning, also where warnings are made errors: those must not end the user's training."""
    with contextlib.suppress(Warning):
        warnings.warn(sentence, stacklevel=_frames_to_the_script())


def _frames_to_the_script() -> int:
    frame, level = sys._getframe(2), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("torch", "torch_bridge"):
        frame, level = frame.f_back, level + 1
    return level
