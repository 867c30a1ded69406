"""Settings of the process and the machine that change results: precision, flags, threads, versions, roots."""

import os
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import numpy as np

from funcsgd.arithmetic.square_root import SquareRoot
from torch_bridge.judge.preflight.finding import Finding
from torch_bridge.judge.preflight.side import Sides
from torch_bridge.translate.optimizers import adapter_named

FLAGS = {
    "xla_cpu_enable_fast_math": "lets XLA reorder sums, drop NaNs and replace divisions",
    "xla_cpu_max_isa": "may forbid fused multiply-adds, on which the bits of the rules rest",
    "xla_allow_excess_precision": "lets XLA keep more digits between operations than their type has",
}
"""Flags of XLA that change results, and how."""

_HARMLESS = {"xla_cpu_enable_fast_math": ("false", "0"), "xla_allow_excess_precision": ("false", "0")}


def environment_findings(sides: Sides) -> Iterator[Finding]:
    """Name the settings of this process by which a port computes otherwise than torch did."""
    yield from _precision(sides)
    yield from _flags(os.environ.get("XLA_FLAGS", ""))
    yield from _eager()
    yield from _torch_here(sides)
    yield from _root(sides)


def _precision(sides: Sides) -> Iterator[Finding]:
    dtypes = set(sides.trace.static.get("dtypes", {}).values())
    x64 = bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]
    if x64 and dtypes and "float64" not in dtypes:
        yield Finding(
            "x64 mode",
            "jax_enable_x64 is on, and torch's parameters are "
            f"{', '.join(sorted(dtypes))}: NumPy's float64 arrays and default types make the port compute in float64.",
            "Turn it off, JAX_ENABLE_X64=0, or give every array its type.",
            ", ".join(sorted(dtypes)),
            "jax_enable_x64=True",
        )
    if not x64 and "float64" in dtypes:
        yield Finding(
            "x64 mode",
            "torch's parameters are float64, and jax_enable_x64 is off: the port's are cut to float32.",
            'Call jax.config.update("jax_enable_x64", True) before anything else.',
            "float64",
            "jax_enable_x64=False",
        )
    asked = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    narrow = asked not in (None, "default", "float32", "highest", "F32_F32_F32")
    on_device = asked in (None, "default") and jax.default_backend() != "cpu"
    torchs = sides.trace.static.get("settings", {}).get("float32_matmul_precision", "highest")
    if (narrow or on_device) and torchs == "highest" and "float32" in dtypes:
        yield Finding(
            "matmul precision",
            f"torch multiplies matrices in float32, and JAX with jax_default_matmul_precision={asked} on "
            f"{jax.default_backend()} in fewer digits.",
            'Call jax.config.update("jax_default_matmul_precision", "highest").',
            torchs,
            str(asked),
        )


def _flags(flags: str) -> Iterator[Finding]:
    for name, value in re.findall(r"--(\w+)(?:=(\S+))?", flags):
        if name in FLAGS and value.lower() not in _HARMLESS.get(name, ()):
            setting = f"--{name}" + (f"={value}" if value else "")
            yield Finding(
                "XLA flag",
                f"XLA_FLAGS has {setting}, which {FLAGS[name]}.",
                "Take it out of XLA_FLAGS, or leave it out of the comparison.",
                "",
                setting,
            )


def _eager() -> Iterator[Finding]:
    if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
        yield Finding(
            "eager update",
            "jax_disable_jit is on: each operation is rounded by itself, and the bits of an update under jit are not "
            "promised.",
            "Turn it off, JAX_DISABLE_JIT=0, or compute inside `with funcsgd.exact_arithmetic():`.",
            "",
            "jax_disable_jit=True",
        )


def _torch_here(sides: Sides) -> Iterator[Finding]:
    """Where torch is at hand: whether a new run of it would be the recorded one."""
    recorded = sides.trace.static.get("versions", {}).get("torch", "")
    try:
        here = version("torch")
    except PackageNotFoundError:
        return
    if recorded and recorded.partition("+")[0] != here.partition("+")[0]:
        yield Finding(
            "versions",
            f"The run was recorded with torch {recorded}, and {here} is installed: a new run may have other bits.",
            f"Install torch {recorded.partition('+')[0]}, or record the run again.",
            recorded,
            here,
        )
    threads = sides.trace.static.get("platform", {}).get("threads")
    torch: Any = sys.modules.get("torch")
    same_machine = sides.trace.static.get("platform", {}).get("machine") == platform.machine()
    if torch is not None and same_machine and threads is not None and torch.get_num_threads() != threads:
        yield Finding(
            "threads",
            f"The run was recorded with {threads} threads of torch, which has {torch.get_num_threads()} here: its "
            "sums are split otherwise.",
            f"Call torch.set_num_threads({threads}) before a new run of torch is compared with this one.",
            str(threads),
            str(torch.get_num_threads()),
        )


def _root(sides: Sides) -> Iterator[Finding]:
    recipe = sides.recipe
    if recipe is None or recipe.root is None or sides.tx is None or not adapter_named(recipe.optimizer).takes_root:
        return
    ports = {root.name for root in _roots(sides.tx.update, set())} or {"correct"}
    if recipe.root.name != "unknown" and ports != {recipe.root.name} and "measured" not in ports:
        yield Finding(
            "square root",
            f"torch's square root was {recipe.root.name} where the run was recorded, and the port's rule takes "
            f"{', '.join(sorted(ports))}: results differ by a unit in the last place here and there.",
            "Give the rule sqrt=torch_bridge.torch_root(), or the root's name, for torch's bits; otherwise the results "
            "are of class rounding.",
            recipe.root.name,
            ", ".join(sorted(ports)),
        )


def _roots(value: Any, seen: set[int]) -> Iterator[SquareRoot]:
    """The square roots that functions have in their closures, however deep."""
    if id(value) in seen or isinstance(value, str | int | float | np.ndarray | jax.Array):
        return
    seen.add(id(value))
    if isinstance(value, SquareRoot):
        yield value
        return
    inner: list[Any] = []
    if isinstance(value, tuple | list):
        inner += value
    elif isinstance(value, dict):
        inner += value.values()
    elif callable(value):
        inner += [cell.cell_contents for cell in getattr(value, "__closure__", None) or () if _is_filled(cell)]
        inner += getattr(value, "__defaults__", None) or ()
        inner += [getattr(value, "func", None), getattr(value, "args", None), getattr(value, "keywords", None)]
        inner += [getattr(value, "__self__", None), getattr(value, "__wrapped__", None)]
    for each in inner:
        yield from _roots(each, seen)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
