"""Whether a rule keeps what a checkpoint's optimizer state holds, no less and no more."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import optax

from torch_bridge.translate.optimizers import Adapter
from torch_bridge.translate.states import torch_state


def check_state_keys(
    opt_state: optax.OptState, params: Any, adapter: Adapter, held: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> None:
    """Compare the keys of torch's state with those that a rule has places for.

    Args:
        opt_state: the rule's state.
        params: the parameters that it was made for.
        adapter: of torch's optimizer.
        held: torch's state of each leaf of ``params``; empty before its first gradient.
        names: torch's name of each leaf, for messages.

    Raises:
        ValueError: a rule keeps something of a parameter that the file has not, or the other way round.
    """
    structure: Any = jax.tree.structure(params)
    kept = {
        key: structure.flatten_up_to(tree)
        for key, tree in torch_state(opt_state, params, adapter).items()
        if key != "started"
    }
    for position, (name, state) in enumerate(zip(names, held, strict=True)):
        places = {key for key, leaves in kept.items() if leaves[position] is not None}
        if not state:
            continue
        if missing := sorted(places - set(state)):
            raise ValueError(
                f"the rule keeps {', '.join(missing)} of {name!r}, and the checkpoint has "
                f"{', '.join(sorted(state))} alone: give the rule the options of the run that wrote the file"
            )
        filled = {key for key, value in state.items() if value is not None}
        if lost := sorted(filled - places - {"step"}):
            raise ValueError(
                f"the checkpoint has {', '.join(lost)} of {name!r}, which the rule does not keep: give the rule the "
                "options of the run that wrote the file; for a rule that begins anew, take the checkpoint's params"
            )
