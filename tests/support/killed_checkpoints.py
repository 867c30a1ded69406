"""Processes that replace checkpoints without end, each killed at a random moment; run as a module."""

import itertools
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from torch_bridge import checkpoint
from torch_bridge.checkpoint.replacement import replacing

NAMES = ("a.pt", "a.safetensors", "folder")


def write(path, number):
    """A checkpoint whose every number is the same."""
    if path.suffix:
        checkpoint.write(path, {"w": np.full(2**16, number)}, force=True)
        return
    with replacing(path, force=True) as new:
        new.mkdir()
        for name in "abc":
            (new / name).write_text(str(number))


def main(folder, n, seed):
    draw = random.Random(seed)
    for name in NAMES:
        write(folder / name, 0)
    for _ in range(n):
        name = draw.choice(NAMES)
        child = os.fork()
        if child == 0:
            for number in itertools.count():
                write(folder / name, number)
        time.sleep(draw.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        aside = folder / f".{name}.old"
        if not (folder / name).exists():
            aside.rename(folder / name)
        whole(folder / name)


def whole(path):
    """Read a checkpoint, all of which must be one process's."""
    values = set(checkpoint.read(path)["w"].tolist()) if path.suffix else {(path / name).read_text() for name in "abc"}
    assert len(values) == 1, values


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
