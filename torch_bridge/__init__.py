"""Checks that JAX training matches PyTorch step for step, and draws what torch draws, without torch."""

from torch_bridge import data as data
from torch_bridge import init as init
from torch_bridge import random as random
from torch_bridge.judge.check import check as check
from torch_bridge.judge.compare import Comparison as Comparison
from torch_bridge.judge.compare import compare as compare
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

__all__ = [
    "Comparison",
    "Envelope",
    "Explanation",
    "JaxRecorder",
    "Recorder",
    "Replay",
    "Report",
    "TorchState",
    "Trace",
    "Translated",
    "UnknownRoot",
    "Weights",
    "check",
    "compare",
    "data",
    "explain",
    "from_torch",
    "init",
    "map_weights",
    "random",
    "record",
    "replay",
    "restore",
    "schedules_from_torch",
    "to_torch",
    "torch_root",
]
