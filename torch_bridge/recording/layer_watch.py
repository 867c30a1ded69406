"""What each layer of a model is given and returns in one step, to be evaluated in float64."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from torch_bridge.recording.batch import tensors_of
from torch_bridge.recording.hooks import can_have_hooks
from torch_bridge.trace.trace import Array
from torch_bridge.translate.parameters import bare_name
from torch_bridge.translate.tensors import to_numpy
from torch_bridge.weights.torch_side import kinds_of

if TYPE_CHECKING:
    import torch

    from torch_bridge.recording.tape import Tape


class LayerWatch:
    """Hooks on the layers of a model, for the steps that are evaluated in float64.

    A layer is a module without modules in it, or one whose kind is known as a whole (attention). Of each, the first
    floating tensor that it is given and the first that it returns are kept, of its first call in the step:

    - ``"forward/MODULE"``: the output, and ``"narrow/forward/MODULE"``, as the run had it;
    - ``"backward/MODULE"``: the gradient with respect to that output;
    - ``"input/MODULE"``: what it was given, unless that is the very output of another layer, see `sources`.

    Attributes:
        kinds: layer -> the name of its class.
        sources: layer -> the layer whose output it was given, where that is known.
    """

    def __init__(self, model: "torch.nn.Module") -> None:
        """Name the model; `open` attaches the hooks."""
        self._model = model
        self._tape: Tape | None = None
        self._undo: list[Callable[[], None]] = []
        self.kinds: dict[str, str] = {}
        self.sources: dict[str, str] = {}
        self._made: Any = {}  # output -> the layer, and the version of the tensor
        self.clear()

    def clear(self) -> None:
        """Forget the calls so far."""
        self._narrow: dict[str, Array] = {}
        self._given: set[str] = set()
        self._made.clear()

    def open(self, tape: "Tape") -> None:
        """Attach the hooks, which note on a tape."""
        from torch.utils.weak import WeakTensorKeyDictionary

        self._tape, self._made = tape, WeakTensorKeyDictionary()
        for name, module in _layers_of(self._model):
            self.kinds[name] = type(module).__name__
            self._undo.append(module.register_forward_pre_hook(self._before(name), with_kwargs=True).remove)
            self._undo.append(module.register_forward_hook(self._after(name)).remove)

    def close(self) -> None:
        """Remove the hooks, and forget the calls."""
        while self._undo:
            self._undo.pop()()
        self._tape = None
        self.clear()

    def gathered(self) -> dict[str, Array]:
        """Return the quantities of the layers after the evaluation, in the order in which they were made."""
        if self._tape is None:
            return {}
        found = {}
        for key, value in self._tape.layers.items():
            found[key] = value.cpu().numpy()
            if (name := key.removeprefix("forward/")) != key:
                found[f"narrow/{key}"] = self._narrow[name]
        return found | {key: value.cpu().numpy() for key, value in self._tape.layer_gradients.items()}

    def _before(self, name: str) -> Callable[..., None]:
        def note(tape: "Tape", module: Any, args: Any, kwargs: Any) -> None:
            if name in self._given:
                return
            self._given.add(name)
            given = _first((args, kwargs))
            if given is None:
                return
            source, version = self._made.get(given, ("", -1))
            if given._version == version and self.sources.setdefault(name, source) == source:
                return
            tape.note_layer(f"input/{name}", given)

        return self._guarded(note)

    def _after(self, name: str) -> Callable[..., None]:
        def note(tape: "Tape", module: Any, args: Any, output: Any) -> None:
            made = _first(output)
            if name in self._narrow or made is None:
                return
            self._narrow[name] = to_numpy(made)
            self._made[made] = (name, made._version)
            tape.note_layer(f"forward/{name}", made, f"backward/{name}")

        return self._guarded(note)

    def _guarded(self, note: Callable[..., None]) -> Callable[..., None]:
        def guarded(*args: Any) -> None:
            import torch

            from torch_bridge.recording.noted_calls import is_transformed

            tape = self._tape
            if tape is None or not torch.is_grad_enabled() or is_transformed():
                return
            try:
                with tape.pause():
                    note(tape, *args)
            except Exception as error:  # the run must go on
                tape.give_up(error)

        return guarded


def _layers_of(model: "torch.nn.Module") -> "Iterator[tuple[str, torch.nn.Module]]":
    known = kinds_of(model)
    for path, module in model.named_modules():
        name = bare_name(model, path)
        if (not any(True for _ in module.children()) or name in known) and can_have_hooks(module):
            yield name, module


def _first(value: Any) -> "torch.Tensor | None":
    return next((tensor for tensor in tensors_of(value) if tensor.is_floating_point()), None)
