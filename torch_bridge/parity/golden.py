"""Golden traces: made on request from a run of torch, loaded everywhere else, replaced only on request."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

from torch_bridge.judge.bits_sentence import describe
from torch_bridge.judge.compare import compare
from torch_bridge.recording.recorder import Recorder
from torch_bridge.trace.trace import Trace

Update: TypeAlias = Literal["", "update", "replace"]
"""What may be written: nothing; traces that are missing; also those that are no longer what torch does."""

Record: TypeAlias = Callable[[], Trace | Recorder]
"""Runs the PyTorch original and returns its recorder or trace."""


class GoldenError(Exception):
    """A golden trace is not there, or is not what it should be; the text says what to do."""


def checked_name(name: str) -> str:
    """Return a name that is fit for a file, or raise ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise ValueError(
            f"golden trace {name!r}: the name becomes a file's, so take letters, digits, '_', '-' and '.', such as "
            "'digits_mlp'"
        )
    return name


def golden(path: Path, record: Record, update: Update, command: str, say: Callable[[str], None]) -> Trace:
    """Return the golden trace at a path.

    Args:
        path: its file.
        record: makes it anew; called only for an update.
        update: what may be written.
        command: the shell command that runs this test; it is printed with the option that is missing.
        say: is given a sentence for each file that is written.

    Raises:
        GoldenError: it is missing or damaged, it differs from what torch does now and may not be replaced, or torch is
            needed and absent.
    """
    if not update:
        if not path.exists():
            raise GoldenError(
                f"there is no golden trace {path}: make it, where torch is installed, with\n"
                f"    {command} --parity-update\nand commit it"
            )
        return _load(path, command)
    made = _recorded(path, record)
    if update == "replace" and path.exists():
        change = _change(path, made)
        if _replace(path, made):
            say(f"replaced {path}: {change or 'the same run in every bit, with another header or other twins'}")
        return made
    if _create(path, made):
        say(f"made {path}: {made.n_steps} steps, {path.stat().st_size:,} bytes")
        return made
    held = _load(path, command)
    if change := _difference(held, made):
        raise GoldenError(
            f"the golden trace {path} is not what torch does now: {change}\nIf two tests share its name, give "
            f"them two. If the new run is right, replace it with\n    {command} --parity-replace"
        )
    return held


def _load(path: Path, command: str) -> Trace:
    try:
        return _whole(path)
    except ValueError as error:
        raise GoldenError(
            f"the golden trace cannot be read: {error}\nTake it from version control again (with Git LFS: git lfs "
            f"pull), or make it anew with\n    {command} --parity-replace"
        ) from error


def _whole(path: Path) -> Trace:
    trace = Trace.load(path)
    if not trace.complete:
        raise ValueError(f"{path} is not whole, its end is missing")
    return trace


def _recorded(path: Path, record: Record) -> Trace:
    try:
        made = record()
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "torch":
            raise
        raise GoldenError(
            f"the golden trace {path} is recorded from torch, which cannot be imported here: {error}\n"
            "Run with --parity-update or --parity-replace where torch is installed, and without them here"
        ) from error
    if isinstance(made, Recorder):
        made = made.trace()
    if not isinstance(made, Trace):
        raise TypeError(
            f"record() for {path} returned {made!r}: return the recorder of torch_bridge.record(...), or its trace()"
        )
    return made


def _change(path: Path, made: Trace) -> str:
    """Say how a recording differs from what a file holds, whatever that is."""
    try:
        return _difference(_whole(path), made)
    except ValueError as error:
        return str(error)


def _difference(held: Trace, made: Trace) -> str:
    """Say how two recordings differ; empty if no bit of what the runs did differs."""
    if held.n_steps != made.n_steps:
        return f"{held.n_steps} steps there, {made.n_steps} now"
    if apart := set(held.initial) ^ set(made.initial):
        return f"only one of the two has {', '.join(sorted(apart))} before the first step"
    if apart := set(held.steps) ^ set(made.steps):
        return f"only one of the two has {', '.join(sorted(apart))}"
    for key, value in held.initial.items():
        now = made.initial[key]
        if (value.dtype, value.shape) != (now.dtype, now.shape):
            return f"{key} is {value.dtype}{list(value.shape)} there, {now.dtype}{list(now.shape)} now"
        if value.tobytes() != now.tobytes():
            return f"another {key} before the first step"
    first = compare(held, made).first
    if first is None:
        return ""
    where = f"first at step {first.step} in {describe(first.phase, first.name, held.numbers)}"
    return f"{where}, {first.reference:.9g} there, {first.candidate:.9g} now" if first.ulps is not None else where


def _create(path: Path, trace: Trace) -> bool:
    """Write a file that is not there yet, whole or not at all; False if it is, be it by another process just now."""
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new.{os.getpid()}")
    try:
        trace.save(beside)
        os.link(beside, path)  # unlike a move, this replaces nothing
    except FileExistsError:
        return False
    finally:
        beside.unlink(missing_ok=True)
    return True


def _replace(path: Path, trace: Trace) -> bool:
    """Write a file over the one that is there, whole or not at all; False if it would say the same."""
    beside = path.with_name(f".{path.name}.new.{os.getpid()}")
    try:
        trace.save(beside)
        if beside.read_bytes() == path.read_bytes():
            return False
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    return True
