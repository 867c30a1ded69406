"""torch's side: the layers of a model, their kinds, and their parameters and buffers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from torch_bridge.trace.trace import Trace, in_phase
from torch_bridge.translate.parameters import bare_name, unwrapped
from torch_bridge.translate.tensors import to_numpy
from torch_bridge.weights.families import TORCH_FAMILIES, guessed_families

if TYPE_CHECKING:
    import torch

_RECURRENT = re.compile(r"(weight_ih|weight_hh|bias_ih|bias_hh)(?:_(l\d+(?:_reverse)?))?")


@dataclass(frozen=True, eq=False)
class Tensor:
    """A parameter or buffer.

    Attributes:
        name: its first name in the state dict.
        shape: its shape.
        value: None where only the shape is known.
        buffer: True for a buffer.
    """

    name: str
    shape: tuple[int, ...]
    value: npt.NDArray[Any] | None = None
    buffer: bool = False

    @property
    def is_weight(self) -> bool:
        """True for what must have a leaf in JAX."""
        return not self.buffer


@dataclass(frozen=True, eq=False)
class TorchLayer:
    """Tensors that belong together.

    Attributes:
        name: the module's name, or the tensor's where it stands alone.
        families: what it may be; several where only shapes are known.
        tensors: by role: ``"weight"``, ``"bias_ih"``, ...
        kind: the class's name; None where only shapes are known.
        tied: True if all its tensors are those of an earlier layer under other names.
        members: the names of the layers in it, where several are stacked.
    """

    name: str
    families: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    kind: str | None = None
    tied: bool = False
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class TorchSide:
    """A model's tensors.

    Attributes:
        layers: in the order of the model.
        tensors: by name, without the further names of tied ones.
        aliases: further name -> first name of a tied tensor.
        order: all names, as in the state dict.
    """

    layers: Sequence[TorchLayer]
    tensors: Mapping[str, Tensor]
    aliases: Mapping[str, str] = field(default_factory=dict)
    order: Sequence[str] = ()


def read_torch(source: Any) -> TorchSide:
    """Read a model, a state dict (of tensors or arrays), or a trace.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(source, Trace):
        initial = in_phase(source.initial, "parameter")
        shapes = {name: tuple(shape) for name, shape in source.static.get("shapes", {}).items()}
        tensors = {
            name: Tensor(name, tuple(initial[name].shape) if name in initial else shapes[name], initial.get(name))
            for name in dict.fromkeys([*shapes, *initial])
        }
        return TorchSide(_layers(tensors, source.static.get("modules", {})), tensors, order=list(tensors))
    if isinstance(source, Mapping):
        tensors = {str(name): _tensor(str(name), value) for name, value in source.items()}
        aliases = _aliases(list(source.items()))
        owned = {name: tensor for name, tensor in tensors.items() if name not in aliases}
        named = {name: owned[aliases.get(name, name)] for name in tensors}
        return TorchSide(_layers(named, {}), owned, aliases, list(tensors))
    if hasattr(source, "named_parameters"):
        return _read_model(unwrapped(source))
    raise TypeError(
        f"cannot read torch's tensors from {type(source).__name__}: give the torch.nn.Module, its state_dict(), or a "
        "Trace"
    )


def arrays_of(source: Any) -> Mapping[str, Any]:
    """Return what a model, a state dict, arrays by name, or the beginning of a trace hold, by torch's names."""
    if isinstance(source, Trace):
        return in_phase(source.initial, "parameter")
    return unwrapped(source).state_dict() if hasattr(source, "state_dict") else source


def kinds_of(model: "torch.nn.Module") -> dict[str, str]:
    """Return the class of each layer that is known here, by the module's name; plain data for a trace's header."""
    kinds = {}
    for name, module in model.named_modules():
        # A class of the user's own by such a name may lay its weights out in another way.
        known = [each.__name__ for each in type(module).__mro__ if each.__module__.partition(".")[0] == "torch"]
        kind = next((each for each in known if each in TORCH_FAMILIES), None)
        if kind is not None:
            kinds[bare_name(model, name)] = kind
    return kinds


def _read_model(model: "torch.nn.Module") -> TorchSide:
    state = model.state_dict(keep_vars=True)
    pairs = [(name, value) for name, value in state.items() if hasattr(value, "detach")]
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    aliases = _aliases(pairs)
    owned = {name: _tensor(name, value, name not in parameters) for name, value in pairs if name not in aliases}
    named = {name: owned[aliases.get(name, name)] for name, _ in pairs}
    return TorchSide(_layers(named, kinds_of(model)), owned, aliases, [name for name, _ in pairs])


def _tensor(name: str, value: Any, buffer: bool | None = None) -> Tensor:
    if hasattr(value, "detach") and value.is_meta:
        return Tensor(name, tuple(value.shape), None, bool(buffer))
    array = to_numpy(value) if hasattr(value, "detach") else np.asarray(value)
    if buffer is None:  # a state dict does not distinguish them; these are never parameters
        buffer = name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")
        buffer = buffer or not np.issubdtype(np.float32 if "float" in str(array.dtype) else array.dtype, np.inexact)
    return Tensor(name, array.shape, array, buffer)


def _aliases(pairs: Sequence[tuple[str, Any]]) -> dict[str, str]:
    """The further names of tensors that are one, by their first name."""
    first: dict[Any, str] = {}
    aliases = {}
    for name, value in pairs:
        tied = hasattr(value, "data_ptr") and value.numel() and value.device.type != "meta"
        key = (value.data_ptr(), tuple(value.shape), value.stride()) if tied else (id(value), "object")
        if first.setdefault(key, name) != name:
            aliases[name] = first[key]
    return aliases


def _layers(named: Mapping[str, Tensor], kinds: Mapping[str, str]) -> list[TorchLayer]:
    modules: dict[str, dict[str, Tensor]] = {}
    tied: dict[str, bool] = {}
    for name, tensor in named.items():
        module, _, role = name.rpartition(".")
        modules.setdefault(module, {})[role] = tensor
        tied[module] = tied.get(module, True) and tensor.name != name
    return [
        replace(layer, tied=tied[name]) for name, own in modules.items() for layer in _split(name, own, kinds.get(name))
    ]


def _split(name: str, own: dict[str, Tensor], kind: str | None) -> Iterator[TorchLayer]:
    """The layers in one module: a recurrent one has one for each direction and depth, an unknown one may have none."""
    cells: dict[str, dict[str, Tensor]] = {}
    rest = {}
    for role, tensor in own.items():
        if match := _RECURRENT.fullmatch(role):
            cells.setdefault(match[2] or "", {})[match[1]] = tensor
        else:
            rest[role] = tensor
    families = (TORCH_FAMILIES[kind],) if kind else ()
    for suffix, tensors in cells.items():
        full = ".".join(filter(None, (name, suffix)))
        if {"weight_ih", "weight_hh"} <= set(tensors):
            yield TorchLayer(full, families or guessed_families(tensors), tensors, kind)
        else:
            rest |= {f"{role}_{suffix}": tensor for role, tensor in tensors.items()}
    if not rest:
        return
    guessed = families if families and not cells else guessed_families(rest)
    if guessed:
        yield TorchLayer(name, guessed, rest, kind)
        return
    for role, tensor in rest.items():
        yield TorchLayer(".".join(filter(None, (name, role))), ("Tensor",), {role: tensor}, kind)
