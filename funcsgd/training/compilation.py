"""Compilation of a run's parts: by a surrounding program or here, and the order in which small work is done."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import get_opaque_trace_state

SMALL = 4096  # parameters; at a few times as many, the two orders are equally fast
IN_ORDER = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


def compiled(function: Callable[..., Any], params: Any, *, static: tuple[int, ...], donate: int | None) -> Any:
    """Return the jitted function, always the same one; or itself, where a surrounding transformation compiles it.

    XLA's CPU backend hands operations that do not need each other to several threads. Where each takes a fraction of a
    microsecond, handing over takes longer: with few parameters they are compiled to follow one another, which changes
    no bit.

    Args:
        function: one of the compiled parts of a run.
        params: the parameters, for their size.
        static: positions of its static arguments.
        donate: position of the argument whose memory the result may take, or None.
    """
    if is_traced():  # a cache of ours would keep the tracers that the rule may hold
        return function
    small = sum(leaf.size for leaf in jax.tree.leaves(params) if hasattr(leaf, "size")) <= SMALL
    return _jitted(function, static, donate, small and jax.default_backend() == "cpu")


@functools.cache
def _jitted(function: Callable[..., Any], static: tuple[int, ...], donate: int | None, in_order: bool) -> Any:
    options = IN_ORDER if in_order and _can_be_in_order() else None
    donated = () if donate is None else (donate,)
    return jax.jit(function, static_argnums=static, donate_argnums=donated, compiler_options=options)


@functools.cache
def _can_be_in_order() -> bool:
    """Whether this version of XLA has the option."""
    try:
        jax.jit(lambda: 0, compiler_options=IN_ORDER).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def is_traced() -> bool:
    """Whether the call is inside a transformation of JAX."""
    here = get_opaque_trace_state()  # type: ignore[no-untyped-call]
    with jax.core.eval_context():
        return bool(here != get_opaque_trace_state())  # type: ignore[no-untyped-call]
