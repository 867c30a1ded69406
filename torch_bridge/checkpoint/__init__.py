"""Checkpoints: torch's files, safetensors and orbax folders, and the runs in them, continued on either side.

`load` reads the checkpoint of a torch run and continues it in JAX; `save_torch` writes one that torch's
``load_state_dict`` takes. `save` and `restore` keep JAX runs in orbax folders, with the state of any optax rule.
Nothing in a file is executed, files and folders appear whole or not at all, and only ``.pt`` files need torch.
"""

from torch_bridge.checkpoint.checkpoint import Checkpoint as Checkpoint
from torch_bridge.checkpoint.checkpoint import load as load
from torch_bridge.checkpoint.continuation import Continued as Continued
from torch_bridge.checkpoint.formats import read as read
from torch_bridge.checkpoint.formats import write as write
from torch_bridge.checkpoint.orbax_folder import Restored as Restored
from torch_bridge.checkpoint.orbax_folder import restore as restore
from torch_bridge.checkpoint.orbax_folder import save as save
from torch_bridge.checkpoint.safetensors_file import read_safetensors as read_safetensors
from torch_bridge.checkpoint.safetensors_file import write_safetensors as write_safetensors
from torch_bridge.checkpoint.torch_file import read_torch as read_torch
from torch_bridge.checkpoint.torch_file import save_torch as save_torch

__all__ = [
    "Checkpoint",
    "Continued",
    "Restored",
    "load",
    "read",
    "read_safetensors",
    "read_torch",
    "restore",
    "save",
    "save_torch",
    "write",
    "write_safetensors",
]
