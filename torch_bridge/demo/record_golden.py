"""Record the golden trace anew: ``python -m torch_bridge.demo.record_golden`` (needs torch and scikit-learn)."""

import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np

from torch_bridge.demo.golden import PATH
from torch_bridge.demo.live import LiveRun
from torch_bridge.demo.recipe import N_STEPS, N_TRAIN, loss_fn, rule, scaled
from torch_bridge.parity.replay import DRIVES, Drive, Replay
from torch_bridge.parity.trace import Array, Trace

SHADOWS = 16


def record_golden(path: Path = PATH) -> Trace:
    """Train PyTorch live, measure the envelope of each drive, write the golden trace and return it."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    pixels, labels = pixels.astype(np.uint8), labels.astype(np.uint8)
    x, y = scaled(pixels), labels.astype(np.int32)
    arrays: dict[str, Array] = {"pixels": pixels, "labels": labels}
    for drive, replay in _replays_of_a_full_run(x, y).items():
        arrays |= {f"{drive}/{key}": a.astype(np.float32) for key, a in replay.trace().extra.items()}

    run = LiveRun(x, y, digest_every=N_STEPS)
    for _ in run.steps():
        pass
    trace = run.recorder.trace()
    provenance = {
        "recorded": datetime.date.today().isoformat(),
        "recorded_by": "python -m torch_bridge.demo.record_golden",
        "data": f"scikit-learn's load_digits, the first {N_TRAIN} rows; pixels 0 to 16, divided by 16",
        "envelope": f"{SHADOWS} shadows of the JAX replay for each drive, see torch_bridge.parity.shaking",
        "seconds": run.seconds,
    }
    golden = replace(trace, static={**trace.static, "provenance": provenance}, extra=arrays)
    golden.save(path)
    return golden


def _replays_of_a_full_run(x: Array, y: Array) -> dict[Drive, Replay]:
    run = LiveRun(x, y)
    replays: dict[Drive, Replay] = {}
    for _ in run.steps():
        replays = replays or {
            drive: Replay(run.recorder.before, rule(), drive=drive, loss_fn=loss_fn, shadows=SHADOWS)
            for drive in DRIVES
        }
        indices = run.recorder.latest["data"]
        for replay in replays.values():
            replay.step(run.recorder.before, run.recorder.latest, (x[indices], y[indices]))
    return replays


if __name__ == "__main__":
    record_golden()
    print(f"{PATH.name}: {PATH.stat().st_size / 1e6:.2f} MB")
