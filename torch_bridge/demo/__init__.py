"""The main job: a digits classifier trained by PyTorch and by JAX in lockstep, and the verdict on it."""

from torch_bridge.demo.faults import FAULTS as FAULTS
from torch_bridge.demo.run import DemoResult as DemoResult
from torch_bridge.demo.run import run as run
