"""Checks that JAX training matches PyTorch step for step, and draws what torch draws, without torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch_bridge import checkpoint as checkpoint
    from torch_bridge import data as data
    from torch_bridge import init as init
    from torch_bridge import random as random
    from torch_bridge.judge.check import check as check
    from torch_bridge.judge.compare import Comparison as Comparison
    from torch_bridge.judge.compare import compare as compare
    from torch_bridge.judge.preflight.preflight import preflight as preflight
    from torch_bridge.judge.report import Report as Report
    from torch_bridge.recording.record import record as record
    from torch_bridge.recording.recorder import Recorder as Recorder
    from torch_bridge.recording.twins import Twins as Twins
    from torch_bridge.replaying.envelope import Envelope as Envelope
    from torch_bridge.replaying.jax_recorder import JaxRecorder as JaxRecorder
    from torch_bridge.replaying.replay import Replay as Replay
    from torch_bridge.replaying.replay import replay as replay
    from torch_bridge.replaying.restore import restore as restore
    from torch_bridge.square_root import UnknownRoot as UnknownRoot
    from torch_bridge.square_root import torch_root as torch_root
    from torch_bridge.trace.keep import Keep as Keep
    from torch_bridge.trace.trace import Trace as Trace
    from torch_bridge.translate.build import Translated as Translated
    from torch_bridge.translate.explain import Explanation as Explanation
    from torch_bridge.translate.explain import explain as explain
    from torch_bridge.translate.from_torch import from_torch as from_torch
    from torch_bridge.translate.lr_scheduler import schedules_from_torch as schedules_from_torch
    from torch_bridge.translate.to_torch import TorchState as TorchState
    from torch_bridge.translate.to_torch import to_torch as to_torch
    from torch_bridge.weights import Weights as Weights
    from torch_bridge.weights import map_weights as map_weights

_HOMES = {
    "Comparison": "torch_bridge.judge.compare",
    "Envelope": "torch_bridge.replaying.envelope",
    "Explanation": "torch_bridge.translate.explain",
    "JaxRecorder": "torch_bridge.replaying.jax_recorder",
    "Keep": "torch_bridge.trace.keep",
    "Recorder": "torch_bridge.recording.recorder",
    "Replay": "torch_bridge.replaying.replay",
    "Report": "torch_bridge.judge.report",
    "TorchState": "torch_bridge.translate.to_torch",
    "Trace": "torch_bridge.trace.trace",
    "Translated": "torch_bridge.translate.build",
    "Twins": "torch_bridge.recording.twins",
    "UnknownRoot": "torch_bridge.square_root",
    "Weights": "torch_bridge.weights",
    "check": "torch_bridge.judge.check",
    "checkpoint": "torch_bridge.checkpoint",
    "compare": "torch_bridge.judge.compare",
    "data": "torch_bridge.data",
    "explain": "torch_bridge.translate.explain",
    "from_torch": "torch_bridge.translate.from_torch",
    "init": "torch_bridge.init",
    "map_weights": "torch_bridge.weights",
    "preflight": "torch_bridge.judge.preflight.preflight",
    "random": "torch_bridge.random",
    "record": "torch_bridge.recording.record",
    "replay": "torch_bridge.replaying.replay",
    "restore": "torch_bridge.replaying.restore",
    "schedules_from_torch": "torch_bridge.translate.lr_scheduler",
    "to_torch": "torch_bridge.translate.to_torch",
    "torch_root": "torch_bridge.square_root",
}
"""Where each public name is defined; it is imported when it is first asked for. pytest loads the plugin of this package
at its start, in projects that use neither JAX nor torch, too."""

__all__ = list(_HOMES)

if not TYPE_CHECKING:  # a type checker reads the imports above, and finds a misspelt name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'torch_bridge' has no attribute {name!r}")
        home = import_module(_HOMES[name])
        value = home if home.__name__ == f"{__name__}.{name}" else getattr(home, name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOMES})
