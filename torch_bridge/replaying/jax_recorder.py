"""A JAX training loop of the user's own -> Trace."""

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import jax
import numpy as np
import optax

from funcsgd.averages import AverageState, averaged_params
from torch_bridge.replaying.layout import Layout, header_of, jax_header
from torch_bridge.replaying.model_state import ModelState
from torch_bridge.trace.batch import leaves_of
from torch_bridge.trace.builder import TraceBuilder
from torch_bridge.trace.file import TraceFile
from torch_bridge.trace.keep import Keep
from torch_bridge.trace.trace import Trace
from torch_bridge.translate.states import hyperparameters, nodes_of, torch_state
from torch_bridge.weights import Weights, same_weights


class JaxRecorder:
    """Records a loop that calls it once after each update; `torch_bridge.compare` takes its trace like a replay's.

    The loop may be anything that has parameters, gradients and an optax state at hand: a jitted step, flax's
    ``nnx.Optimizer`` or ``TrainState``, equinox; here, or on another machine.
    """

    def __init__(
        self,
        params: Any,
        opt_state: optax.OptState | None = None,
        model_state: Any = None,
        *,
        like: Trace | str,
        weights: Weights | None = None,
        buffers: Weights | None = None,
        keep: Keep | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        """Begin a trace.

        Args:
            params: the parameters before the first step; any pytree.
            opt_state: the optimizer's state before it.
            model_state: what else the model keeps, such as BatchNorm's statistics, before it.
            like: the recorded PyTorch run; or, where that is on another machine, the class of its optimizer, such as
                ``"torch.optim.adam.Adam"``, by which states and quantities are named.
            weights: how ``params`` lie to torch's, see `map_weights`; None takes a flat dict by torch's names.
            buffers: how ``model_state`` lies to torch's buffers, likewise.
            keep: what is kept of each step, see `Keep`; None keeps every tensor.
            path: a file to write the trace to as the run goes, see `record`; `close` ends it.

        Raises:
            ValueError: ``params`` or ``model_state`` have no names of torch's, or ``like`` is no optimizer that is
                known here.
            OSError: ``path`` cannot be written.
        """
        header = dict(like.static) if isinstance(like, Trace) else header_of(like)
        for tree, mapping, name in ((params, weights, "params"), (model_state, buffers, "model_state")):
            if mapping is None and tree is not None and not isinstance(tree, Mapping):
                raise ValueError(
                    f"{name} is a {type(tree).__name__}, whose leaves have no names of torch's: give "
                    f"{'weights' if name == 'params' else 'buffers'}=, see torch_bridge.map_weights"
                )
        model_layout = None if buffers is None else ModelState(buffers)
        self._layout = Layout(weights or same_weights(params), header, model_layout)
        self._file = TraceFile(path)
        self._builder = TraceBuilder(jax_header(header), keep=keep, file=self._file)
        self._builder.initial = self._layout.named(jax.device_get(self._held(params, opt_state, model_state)))

    def step(
        self,
        *,
        params: Any,
        grads: Any = None,
        loss: Any = None,
        opt_state: optax.OptState | None = None,
        model_state: Any = None,
        indices: Any = None,
        batch: Any = None,
        learning_rate: Any = None,
    ) -> None:
        """Record one update.

        Args:
            params: the parameters after it.
            grads: the gradients that it was given, a tree like ``params``.
            loss: the loss that was differentiated, a scalar.
            opt_state: the state after it.
            model_state: likewise, a tree like the first one.
            indices: which examples it used, integers of shape ``(batch,)``.
            batch: the batch itself, where its examples have no indices; a tree like the one of torch's loader.
            learning_rate: the one that it took, a scalar, or a list of one for each parameter group; a state shows the
                one of the next update.

        Raises:
            ValueError: a tree does not have the structure of the parameters.
        """
        observed = self._held(params, opt_state, model_state)
        if grads is not None:
            observed["gradient"] = grads
        if loss is not None:
            observed["loss"] = loss
        if learning_rate is not None:
            observed["learning_rate"] = learning_rate
        values = self._layout.named(jax.device_get(observed))
        if indices is not None:
            values["data"] = np.asarray(indices, np.int64)
        if batch is not None:
            leaves, _ = leaves_of(jax.device_get(batch), np.asarray)
            values |= {f"batch/{name}": leaf for name, leaf in leaves.items()}
        self._builder.append(values)

    def trace(self) -> Trace:
        """Return the trace of the steps so far.

        Raises:
            ValueError: no step was recorded yet.
        """
        if self._builder.n_steps == 0:
            raise ValueError("nothing was recorded: call recorder.step(params=..., ...) after each update")
        return self._builder.build()

    def save(self, path: str | os.PathLike[str]) -> Trace:
        """Write the trace of the steps so far to ``path``, see `Trace.save`, and return it."""
        trace = self.trace()
        trace.save(path)
        return trace

    def close(self) -> None:
        """End the file that the run was written to; the trace stays."""
        self._builder.close()
        self._file.close()

    def __enter__(self) -> "JaxRecorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trail: TracebackType | None
    ) -> None:
        self.close()

    def _held(self, params: Any, opt_state: optax.OptState | None, model_state: Any) -> dict[str, Any]:
        held: dict[str, Any] = (
            {"parameter": params} if model_state is None else {"parameter": params, "buffer": model_state}
        )
        if opt_state is not None:
            adapter = self._layout.observed.adapter
            held |= torch_state(opt_state, params, adapter) | hyperparameters(opt_state, adapter)
            if nodes_of(opt_state, AverageState):
                held["average"] = averaged_params(opt_state, params)
        return held
