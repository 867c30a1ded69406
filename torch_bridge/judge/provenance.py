"""Where a report comes from: versions, machines, seeds and the recipe of both sides."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import jax

from torch_bridge.replaying.layout import jax_header
from torch_bridge.trace.trace import Trace

_RECORDED = ("versions", "platform", "settings", "seeds", "provenance", "not_recorded")
_SETTINGS = ("jax_enable_x64", "jax_default_matmul_precision")


@dataclass(frozen=True)
class Provenance:
    """The origin of both sides, plain data.

    Attributes:
        torch: of the recorded run: versions, platform, seeds, and sentences on what could not be recorded.
        jax: of the port's runs: versions, platform, and JAX's settings that change results.
        recipe: the optimizer and the options of each parameter group.
    """

    torch: Mapping[str, Any] = field(default_factory=dict)
    jax: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)


def provenance_of(trace: Trace) -> Provenance:
    """Return the origin of a recorded run and of the port that is checked here."""
    static = trace.static
    recipe = static.get("recipe", {})
    here = jax_header(static)
    return Provenance(
        {key: static[key] for key in _RECORDED if key in static},
        {
            "versions": {**here["versions"], "funcsgd": version("funcsgd"), "python": platform.python_version()},
            "platform": {**here["platform"], "system": platform.system(), "cpus": os.cpu_count()},
            "settings": {
                **{name: getattr(jax.config, name) for name in _SETTINGS},
                "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
            },
        },
        {
            "optimizer": recipe.get("optimizer", ""),
            "groups": [{"parameters": len(group["names"]), **group["options"]} for group in recipe.get("groups", ())],
        },
    )
