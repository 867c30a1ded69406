"""Processes that write traces without end, each killed at a random moment: python -m tests.support.killed_writer."""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from tests.support.small_files import KINDS, builder, values
from torch_bridge.trace.file import TraceFile

N_BIG = 2**18


def step(t):
    return values(t) | {"parameter/big": np.full(N_BIG, t, np.float32)}


def write(path, keep, told):
    """Write steps until the end of the process; tell of each when it is written."""
    file = TraceFile(path)
    run = builder(file, keep)
    t = 0
    while True:
        run.append(step(t))
        t += 1
        os.write(told, b".")


def main(folder, n, seed):
    draw = random.Random(seed)
    kinds = ("full", "digest", "ring")
    for number in range(n):
        kind = kinds[number % len(kinds)]
        ear, mouth = os.pipe()
        child = os.fork()
        if child == 0:
            write(folder / f"{number}.trace", KINDS[kind].get("keep"), mouth)
        os.read(ear, 1)  # the first step is written
        time.sleep(draw.uniform(0, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(mouth)
        n_told = 1
        while told := os.read(ear, 2**16):
            n_told += len(told)
        os.close(ear)
        (folder / f"{number}.told").write_text(f"{kind} {n_told}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
