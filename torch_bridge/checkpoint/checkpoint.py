"""A training script's checkpoint: what is in it, and the JAX run that goes on from it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import optax

from torch_bridge.checkpoint.adapter_choice import adapter_of_groups, with_doubles
from torch_bridge.checkpoint.continuation import Continued, continued
from torch_bridge.checkpoint.formats import read
from torch_bridge.checkpoint.handback import handed_back
from torch_bridge.checkpoint.names import bare_names, check_shapes, group_names, parameter_names
from torch_bridge.checkpoint.parts import entries_of, entry_at, found_parts, one_of, with_entry
from torch_bridge.translate.build import build_rule
from torch_bridge.translate.optimizers import Adapter
from torch_bridge.translate.read import read_root
from torch_bridge.translate.recipe import Group, Recipe
from torch_bridge.weights import Weights
from torch_bridge.weights.result import same_weights

Names = Sequence[str] | Sequence[Sequence[str]]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The checkpoint of a torch run; `load` reads it. ``print`` it to see what was found and what is not used.

    Attributes:
        content: all of the file: dicts, lists and tuples with NumPy arrays, numbers and strings.
        keys: part -> the key under which it was found: "model", "optimizer", "scheduler", "average" (of an
            AveragedModel), "rng", "epoch" and "step"; ``""`` where the part is the whole file.
        names: the optimizer's parameters, as they were given; None if they are looked for.
    """

    content: Any
    keys: Mapping[str, str] = field(default_factory=dict)
    names: Names | None = None

    def part(self, part: str) -> Any:
        """Return a part as it stands in the file.

        Raises:
            ValueError: the file has none.
        """
        if part not in self.keys:
            raise ValueError(
                f"the checkpoint has no {part} that was found: say where it is by keys={{{part!r}: ...}}; {self}"
            )
        return entry_at(self.content, self.keys[part])

    @property
    def ignored(self) -> list[str]:
        """The keys of the file that belong to no part."""
        entries = entries_of(self.content)
        if "" in self.keys.values():
            return []
        used = {key if key in entries else key.partition("/")[0] for key in self.keys.values()}
        return [str(key) for key in entries if key not in used]

    @cached_property
    def model(self) -> dict[str, Any]:
        """The model's state dict, without the prefixes of wrappers: name -> NumPy array."""
        tensors = self.part("model")
        return {short: tensors[name] for short, name in bare_names(list(tensors)).items()}

    @cached_property
    def groups(self) -> list[list[str]]:
        """The names of the parameters in each of the optimizer's groups."""
        optimizer = one_of(self.part("optimizer"))
        rows = group_names(optimizer["param_groups"], self.model, self.names)
        flat = [name for row in rows for name in row]
        numbers = [number for group in optimizer["param_groups"] for number in group["params"]]
        if numbers != list(range(len(flat))):
            raise ValueError("the optimizer does not number its parameters as torch does, 0, 1, ... through its groups")
        check_shapes(optimizer["state"], flat, self.model)
        return rows

    @property
    def params(self) -> dict[str, Any]:
        """The parameters: those of the optimizer; without one, all of the model but running statistics."""
        if "optimizer" not in self.keys:
            return {name: self.model[name] for name in parameter_names(self.model)}
        return {name: self.model[name] for row in self.groups for name in row}

    @property
    def buffers(self) -> dict[str, Any]:
        """What else the model holds: statistics, counters, parameters that the optimizer has not."""
        ours = {id(value) for value in self.params.values()}  # not names: tied tensors have several
        return {name: value for name, value in self.model.items() if id(value) not in ours}

    @property
    def adapter(self) -> Adapter:
        """The kind of optimizer, found by its options and its state.

        Raises:
            TypeError: it is none that is known here.
        """
        return adapter_of_groups(one_of(self.part("optimizer")))

    def rule(self) -> optax.GradientTransformationExtraArgs:
        """Return the rule of the optimizer, with the hyperparameters that were in force, for parameters by name.

        Schedules, clipping and averages are no part of it: a checkpoint has their numbers, not their kinds.

        Raises:
            TypeError: the optimizer is none that has a rule here.
            ValueError: there is no optimizer, or the rule refuses its options.
        """
        adapter = self.adapter
        options = [with_doubles(group) for group in one_of(self.part("optimizer"))["param_groups"]]
        for group in options:
            if narrow := adapter.narrow(group):
                raise ValueError(narrow)
        groups = tuple(
            Group(tuple(names), adapter.options(group)) for names, group in zip(self.groups, options, strict=True)
        )
        try:
            root = read_root() if adapter.takes_root else None
        except ImportError:  # without torch the root is the correct one
            root = None
        return build_rule(Recipe(adapter.torch_class, groups, root=root))

    def to_jax(
        self,
        tx: optax.GradientTransformation,
        weights: Weights | None = None,
        *,
        steps_per_epoch: int = 1,
        steps_done: int | None = None,
    ) -> Continued:
        """Return parameters and state with which a JAX run goes on where the torch run stood.

        Args:
            tx: the rule of the whole run: `rule`, or one of your own, of funcsgd or plain optax, with its schedules
                from the beginning; ``funcsgd.averages.with_average`` around it takes the average.
            weights: of `torch_bridge.map_weights`, for parameters in another layout than torch's; None keeps them as a
                dict by torch's names.
            steps_per_epoch: how many ``optimizer.step()`` lie between two ``scheduler.step()``.
            steps_done: how many ``optimizer.step()`` were made; None takes what the optimizer counted, else the
                file's step, else the scheduler's epochs.

        Returns:
            `Continued`: unpack it as ``params, state``.

        Raises:
            ValueError: the rule's learning rate there is not the one in force in the file, the rule keeps something of
                a parameter that the file has not, or the other way round, a part is missing or does not fit, or a
                tensor is wider than JAX's mode allows.

        Warns:
            UserWarning: the file has an average, and the rule keeps none.

        Exactness: bitwise, where the rule is.
        """
        layout = weights or same_weights(self.params)
        return continued(self, tx, layout, steps_per_epoch, steps_done)

    def from_jax(
        self,
        params: Any,
        opt_state: optax.OptState,
        weights: Weights | None = None,
        *,
        buffers: Mapping[str, Any] | None = None,
        **numbers: int,
    ) -> "Checkpoint":
        """Return the checkpoint further on: in the same form, with what a JAX run that began from it has made.

        Args:
            params: the parameters.
            opt_state: the state of the rule that `to_jax` was given.
            weights: as there.
            buffers: the model's buffers by torch's names, such as BatchNorm's statistics; those that are neither here
                nor in ``weights`` stay as they are in the file.
            **numbers: ``epoch=`` and ``step=``, where the file has them.

        Returns:
            A `Checkpoint`, whose ``content`` `save_torch` writes for the ``load_state_dict`` of the torch script.

        Raises:
            ValueError: the learning rate has moved on by a scheduler whose state only torch can step
                (`torch_bridge.to_torch` does, with the script's objects), or a number is missing.

        Exactness: bitwise.
        """
        layout = weights or same_weights(self.params)
        parts = handed_back(self, params, opt_state, layout, buffers or {})
        for part in ("epoch", "step"):
            if part in self.keys:
                if part not in numbers:
                    raise ValueError(
                        f"the file has the {part} {self.part(part)}: give {part}=, where the run stands now"
                    )
                parts[part] = numbers.pop(part)
        if numbers:
            raise ValueError(f"the file has no {next(iter(numbers))}")
        content = self.content
        for part, value in parts.items():
            content = with_entry(content, self.keys[part], value)
        return Checkpoint(content, self.keys, self.names)

    def __str__(self) -> str:
        """Say what was found under which key, and what is not used."""
        found = [f"{part} under {key!r}" if key else f"{part}, the whole file" for part, key in self.keys.items()]
        rest = f"; not used: {', '.join(map(repr, self.ignored))}" if self.ignored else ""
        return f"found {', '.join(found) or 'nothing'}{rest}"


def load(
    path: str | os.PathLike[str], *, keys: Mapping[str, str | None] | None = None, names: Names | None = None
) -> Checkpoint:
    """Read the checkpoint of a torch run: from torch's own file, or from what `torch-bridge convert` made of it.

    Args:
        path: a ``.pt`` file (read with ``weights_only=True``, never otherwise; needs torch), a ``.safetensors`` file,
            or an orbax folder.
        keys: part -> key, for what is not found by its form: ``{"model": "generator", "optimizer": "opt_g"}``, with
            slashes into nested dicts, and numbers into lists, ``"optimizer_states/1"``; None leaves a part out. Parts
            are those of `Checkpoint.keys`. The average of a script's own, a dict of tensors alone, is only found so.
        names: the optimizer's parameters by name, in the order in which the script gave them, or a list for each
            group; needed where the file does not show them, see `torch_bridge.checkpoint.names.group_names`.

    Returns:
        A `Checkpoint`.

    Raises:
        ImportError: torch, or the package for the format, is not installed.
        ValueError: the file is damaged or of another kind; several entries have the form of a part.
        OSError: it cannot be read.

    Exactness: bitwise.

    Example:
        >>> import tempfile, numpy as np
        >>> from torch_bridge import checkpoint
        >>> group = {"lr": 0.5, "momentum": 0.9, "dampening": 0, "weight_decay": 0, "nesterov": False,
        ...          "maximize": False, "params": [0]}
        >>> state = {0: {"momentum_buffer": np.float32([2.0])}}
        >>> path = tempfile.mkdtemp() + "/run.safetensors"
        >>> checkpoint.write_safetensors(path, {"net": {"w": np.float32([1.0])}, "epoch": 3, "args": {"lr": 0.5},
        ...                                     "opt": {"state": state, "param_groups": [group]}})
        >>> found = checkpoint.load(path)
        >>> print(found)
        found model under 'net', optimizer under 'opt', epoch under 'epoch'; not used: 'args'
        >>> tx = found.rule()
        >>> params, state = found.to_jax(tx)
        >>> updates, state = tx.update({"w": np.float32([1.0])}, state, params)
        >>> updates["w"]  # -0.5 * (0.9 * 2 + 1)
        Array([-1.4], dtype=float32)
    """
    content = read(path)
    return Checkpoint(content, found_parts(content, keys), names)
