"""What a trace says of a PyTorch run as a whole: versions, platform, groups, shapes, and what could not be seen."""

import contextlib
import platform
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from torch_bridge.recording.optimizer_view import OptimizerView
from torch_bridge.trace.trace import Array, name_of, phase_of
from torch_bridge.translate.recipe_data import recipe_as_data
from torch_bridge.translate.scheduler_progress import as_list

if TYPE_CHECKING:
    import torch
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.swa_utils import AveragedModel


class Header:
    """The header of a recorded run, plain data fit for JSON, which grows with the run.

    Attributes:
        data: for ``Trace.static``. ``"unseen"`` are sentences on what the recorder could not see; each is given once as
            a warning, too.
    """

    def __init__(self, view: OptimizerView, recipe: Mapping[str, Any]) -> None:
        """Describe a run at its beginning.

        Args:
            view: of its optimizer.
            recipe: what `told_recipe` returns.
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
            "optimizer": type(view.optimizer).__name__,
            **recipe,
        }
        self.describe(view)

    def describe(self, view: OptimizerView) -> None:
        """Describe the groups and parameters as they are now; what was said of earlier groups stays."""
        groups = self.data.setdefault("groups", [])
        for index, (names, values) in enumerate(view.groups()):
            if index == len(groups):
                groups.append({**values, "names": names})
            groups[index]["names"] = names
        self.data["shapes"] = {name: list(p.shape) for _, name, p in view.parameters()}
        self.data["dtypes"] = {name: str(p.dtype).removeprefix("torch.") for _, name, p in view.parameters()}

    def describe_twin(self, step: int, twin: Mapping[str, Array]) -> None:
        """Note that a step was evaluated in float64, and of which layers."""
        told = self.data["twins"]
        told["steps"].append(step)
        layers = [name_of(key) for key in twin if phase_of(key) == "forward"]
        told["layers"] += [layer for layer in layers if layer not in told["layers"]]

    def say_no_twin(self, step: int, reason: str) -> None:
        """Note why a step was not evaluated in float64, and say each reason once."""
        reasons = self.data["twins"]["reasons"]
        if reason not in reasons.values():
            self.say(f"step {step} is not evaluated in float64: {reason}")
        reasons[str(step)] = reason

    def say(self, sentence: str) -> None:
        """Keep a sentence on what could not be seen, and give it as a warning the first time."""
        said = self.data.setdefault("unseen", [])
        if sentence not in said:
            said.append(sentence)
            warn(sentence)


def warn(sentence: str) -> None:
    """Give a warning, also where warnings are made errors: those must not end the user's training."""
    with contextlib.suppress(Warning):
        warnings.warn(sentence, stacklevel=_frames_to_the_script())


def _frames_to_the_script() -> int:
    frame, level = sys._getframe(2), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("torch", "torch_bridge"):
        frame, level = frame.f_back, level + 1
    return level


def told_recipe(
    optimizer: "torch.optim.Optimizer",
    scheduler: "LRScheduler | Sequence[LRScheduler] | None",
    average: "AveragedModel | None",
    clip: Mapping[str, Any] | None,
    named: "Sequence[tuple[str, torch.Tensor]]",
    steps_per_epoch: int,
) -> dict[str, Any]:
    """Return a recipe as data, see `recipe_as_data`; what has no equivalent is named under ``"untranslated"``.

    Args:
        optimizer: of the run.
        scheduler: as it was given to `record`.
        average: likewise.
        clip: likewise.
        named: the model's parameters.
        steps_per_epoch: see `record`.
    """
    parts: dict[str, Any] = {"scheduler": scheduler, "average": average, "clip": clip}
    left: list[str] = []

    def told(**given: Any) -> dict[str, Any]:
        scheduler, average, clip = (given.get(part) for part in ("scheduler", "average", "clip"))
        return recipe_as_data(optimizer, scheduler, average, clip, named, steps_per_epoch)

    for part, value in parts.items():
        try:
            told(**{part: value})
        except Exception as error:  # it is recorded all the same
            kinds = ", ".join(type(each).__name__ for each in as_list(value)) if part == "scheduler" else part
            left.append(f"{kinds}: {error}")
            parts[part] = None
    try:
        data = told(**parts)
    except Exception as error:
        left.append(str(error))
        data = {"schedulers": [], "average": None, "clip": None, "explanation": ""}
    return {**data, "untranslated": left} if left else data
