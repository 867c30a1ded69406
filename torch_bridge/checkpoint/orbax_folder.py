"""Whole runs in orbax folders: parameters, states of any rule, and what stands beside them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from torch_bridge.checkpoint.file_list import check_files, write_file_list
from torch_bridge.checkpoint.outline import filled, flattened, is_array, named_leaves, rebuilt
from torch_bridge.checkpoint.replacement import replacing, set_aside

_OUTLINE = "outline"


class Restored(NamedTuple):
    """The result of `restore`.

    Attributes:
        params: the parameters.
        opt_state: the rule's state; None if none was saved.
        beside: what else was saved, by name.
    """

    params: Any
    opt_state: Any
    beside: dict[str, Any]


def save(
    path: str | os.PathLike[str],
    params: Any,
    opt_state: optax.OptState | None = None,
    *,
    force: bool = False,
    **beside: Any,
) -> None:
    """Save a run to a folder, by orbax.

    Args:
        path: of the folder; it appears whole or not at all.
        params: any pytree of arrays; sharded ones are written shard by shard.
        opt_state: the state of any optax transformation.
        force: replace a folder of that name; of several processes none can.
        **beside: whatever else the run needs to go on, each a pytree of arrays, numbers and strings:
            ``loader=iterator.state()``, ``generator=random.get_rng_state()``, ``epoch=3``, ``model_state=...``, a whole
            `funcsgd.training.TrainingState`.

    Raises:
        ImportError: orbax-checkpoint is not installed.
        FileExistsError: there is a folder of that name.
        TypeError: something is neither an array, a number, a string nor a registered pytree.

    Exactness: bitwise.

    Differs from ``orbax.checkpoint.StandardCheckpointer`` in: (1) keys with dots and slashes cannot collide, as
    ``{"a.b": x, "a": {"b": y}}`` does there; (2) empty arrays and empty states are kept.

    Example:
        >>> import tempfile, jax.numpy as jnp, funcsgd
        >>> from torch_bridge import checkpoint
        >>> tx, params = funcsgd.sgd(0.1, momentum=0.9), {"w": jnp.ones(2)}
        >>> folder = tempfile.mkdtemp() + "/step_3"
        >>> checkpoint.save(folder, params, tx.init(params), epoch=3)
        >>> params, state, beside = checkpoint.restore(folder, tx)
        >>> params["w"].tolist(), type(state) is type(tx.init(params)), beside
        ([1.0, 1.0], True, {'epoch': 3})
    """
    if odd := {"params", "opt_state", _OUTLINE} & set(beside):
        raise TypeError(f"the name {odd.pop()!r} is taken: save it under another")
    write_orbax(
        path, {"params": params, **({} if opt_state is None else {"opt_state": opt_state}), **beside}, force=force
    )


def restore(
    path: str | os.PathLike[str], tx: optax.GradientTransformation | None = None, params: Any = None, **targets: Any
) -> Restored:
    """Restore a run that `save` saved.

    Args:
        path: of the folder.
        tx: the rule; its state then has the types of ``tx.init(params)``. None gives the state as dicts and lists.
        params: parameters, or their shapes (``jax.ShapeDtypeStruct``), whose structure and sharding the result takes;
            None gives them as dicts and lists, which is what they are in most ports.
        **targets: likewise for what was saved beside them, by name.

    Returns:
        `Restored`: unpack it as ``params, state, beside``. Without a target arrays are NumPy's, with one JAX's.

    Raises:
        ImportError: orbax-checkpoint is not installed.
        ValueError: the folder is damaged or is no such checkpoint; or what was saved differs from the target in
            structure, shape or dtype, which names the first place.
        OSError: there is no such folder.

    Exactness: bitwise.
    """
    with _Reader(path) as reader:
        for name in ("params", *targets, *(["opt_state"] if tx is not None else [])):
            if name not in reader.names:
                raise ValueError(f"{path} holds no {name!r}, only {', '.join(reader.names)}")
        found = reader.tree("params", params)
        state = None
        if tx is not None:
            like = jax.tree.map(jax.numpy.asarray, found) if params is None else params
            shapes = any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(like))
            state = reader.tree("opt_state", jax.eval_shape(tx.init, like) if shapes else tx.init(like))
        elif "opt_state" in reader.names:
            state = reader.tree("opt_state")
        others = [name for name in reader.names if name not in ("params", "opt_state")]
        return Restored(found, state, {name: reader.tree(name, targets.get(name)) for name in others})


def write_orbax(path: str | os.PathLike[str], items: Mapping[str, Any], *, force: bool = False) -> None:
    """Write trees by name to an orbax folder; see `save`."""
    ocp = _orbax()
    outlines, saved = {}, {}
    for name, tree in items.items():
        arrays, outline = flattened(tree)
        empty = {key: [str(array.dtype), list(array.shape)] for key, array in arrays.items() if array.size == 0}
        outlines[name] = {"outline": outline, "empty": empty}
        if full := {key: array for key, array in arrays.items() if array.size}:
            saved[name] = ocp.args.StandardSave(full)
    composite = ocp.args.Composite(**saved, **{_OUTLINE: ocp.args.JsonSave(outlines)})
    if jax.process_count() > 1:  # orbax has them meet; each moving a folder of its own they would not
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            checkpointer.save(Path(path).absolute(), composite)
        return
    with replacing(path, force=force) as other:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            checkpointer.save(other.absolute(), composite)
        write_file_list(other)


def read_orbax(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the trees in an orbax folder by name, as dicts and lists of NumPy arrays; see `restore`."""
    with _Reader(path) as reader:
        return {name: reader.tree(name) for name in reader.names}


class _Reader:
    """An orbax folder, open."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._ocp = _orbax()
        self._path = Path(path).absolute()
        if not self._path.is_dir():
            aside = set_aside(self._path)
            hint = f"; {aside} is the one that was being replaced: move it back" if aside.is_dir() else ""
            raise FileNotFoundError(f"there is no folder {path}{hint}")
        if not (self._path / _OUTLINE).is_dir():
            raise ValueError(
                f"{path} is no whole checkpoint of torch_bridge.checkpoint.save: it has no {_OUTLINE}; of orbax's "
                "CheckpointManager give the folder of one step, and read what another program saved by orbax itself"
            )

    def __enter__(self) -> "_Reader":
        with self._damage():
            check_files(self._path)
            handlers = {
                each.name: self._ocp.PyTreeCheckpointHandler() for each in self._path.iterdir() if each.is_dir()
            }
            handlers[_OUTLINE] = self._ocp.JsonCheckpointHandler()
            self._checkpointer = self._ocp.Checkpointer(self._ocp.CompositeCheckpointHandler(**handlers))
            args = self._ocp.args
            outlines = self._checkpointer.restore(self._path, args.Composite(**{_OUTLINE: args.JsonRestore()}))
            self._outlines: dict[str, Any] = outlines[_OUTLINE]
            self._shapes = {
                name: dict(each.tree)
                for name, each in self._checkpointer.metadata(self._path).item_metadata.items()
                if name != _OUTLINE and each is not None
            }
            self.names = [str(name) for name in self._outlines]
        return self

    def __exit__(self, *_: object) -> None:
        self._checkpointer.close()

    def tree(self, name: str, target: Any = None) -> Any:
        """Restore one tree, with a target or without."""
        with self._damage():
            outline, shapes = self._outlines[name]["outline"], self._shapes.get(name, {})
            arrays = {key: _empty(*each) for key, each in self._outlines[name]["empty"].items()}
        wanted = {} if target is None else named_leaves(target)
        if target is not None:
            self._check(name, {**shapes, **arrays}, {key: leaf for key, leaf in wanted.items() if is_array(leaf)})
        with self._damage():
            if shapes:
                kinds = {key: self._kind(wanted.get(key)) for key in shapes}
                restored = self._ocp.args.PyTreeRestore(item=dict.fromkeys(shapes, 0), restore_args=kinds)
                arrays |= self._checkpointer.restore(self._path, self._ocp.args.Composite(**{name: restored}))[name]
            tree = rebuilt(arrays, outline)
            leaves = named_leaves(tree)
        if target is None:
            return tree
        self._check(name, leaves, wanted)
        return filled(target, lambda key, like: _like(like, leaves[key]))

    def _kind(self, target: Any) -> Any:
        """How orbax is to restore an array."""
        if target is None or isinstance(target, np.ndarray | np.generic):
            return self._ocp.RestoreArgs(restore_type=np.ndarray)
        sharding = getattr(target, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
        return self._ocp.ArrayRestoreArgs(restore_type=jax.Array, sharding=sharding)

    def _check(self, name: str, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        """Raise for the first place where what was saved is not what is wanted: orbax would cast dtypes in silence."""
        remedy = "give the rule and the parameters that it was saved with, or no target"
        for key in [*wanted, *(key for key in saved if key not in wanted)]:
            if key not in saved or key not in wanted:
                where = "the target, but not in the folder" if key in wanted else "the folder, but not in the target"
                raise ValueError(f"{self._path}: {name} has {key!r} in {where}; {remedy}")
            there, here = _described(saved[key]), _described(wanted[key])
            if there != here:
                raise ValueError(
                    f"{self._path}: {key!r} of {name} was saved as {there}, the target has {here}; {remedy}"
                )

    def _damage(self) -> "_Damage":
        return _Damage(self._path)


class _Damage:
    """Makes a ValueError of whatever a damaged folder leads orbax to."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, _: object) -> None:
        if isinstance(error, Exception):
            reason = str(error).splitlines()[0][:200] if str(error) else ""
            raise ValueError(
                f"{self._path} is damaged or was not written whole ({type(error).__name__}: {reason}): take an earlier "
                "checkpoint, or copy it anew"
            ) from error


def _like(target: Any, value: Any) -> Any:
    """A restored leaf as the target's kind of array."""
    if not is_array(target) or isinstance(target, np.ndarray | np.generic) or isinstance(value, jax.Array):
        return value
    return jax.numpy.asarray(value)  # an empty array, which orbax does not keep


def _described(leaf: Any) -> str:
    if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
        return f"{np.dtype(leaf.dtype).name}{tuple(leaf.shape)}"
    return type(leaf).__name__


def _empty(dtype: Any, shape: Any) -> Any:
    kind = np.dtype(dtype)
    if 0 not in shape or kind.hasobject:
        raise ValueError(f"an array {dtype}{shape} is not empty")
    return np.zeros(tuple(shape), kind)


def _orbax() -> Any:
    try:
        import orbax.checkpoint as ocp
    except ImportError as error:
        raise ImportError("orbax folders need a package: pip install 'funcsgd[checkpoint]'") from error
    return ocp
