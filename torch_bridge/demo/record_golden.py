"""Make the golden trace anew: ``python -m torch_bridge.demo.record_golden``. Needs torch and scikit-learn."""

import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np

from torch_bridge.demo.golden import PATH
from torch_bridge.demo.live import LiveRun
from torch_bridge.demo.recipe import N_STEPS, N_TRAIN, scaled
from torch_bridge.trace.keep import Keep
from torch_bridge.trace.trace import Trace


def record_golden(path: Path = PATH) -> Trace:
    """Train PyTorch live, write the golden trace and return it."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    pixels, labels = pixels.astype(np.uint8), labels.astype(np.uint8)
    run = LiveRun(scaled(pixels), labels.astype(np.int32), keep=Keep("digest", every=N_STEPS))
    for _ in run.steps():
        pass
    trace = run.recorder.trace()
    provenance = {
        "recorded": datetime.date.today().isoformat(),
        "recorded_by": "python -m torch_bridge.demo.record_golden",
        "data": f"scikit-learn's load_digits, the first {N_TRAIN} rows; pixels 0 to 16, divided by 16",
        "seconds": run.seconds,
    }
    static = {**trace.static, "provenance": provenance}
    golden = replace(trace, static=static, extra={"pixels": pixels, "labels": labels})
    golden.save(path)
    return golden


if __name__ == "__main__":
    record_golden()
    print(f"{PATH.name}: {PATH.stat().st_size / 1e6:.2f} MB")
