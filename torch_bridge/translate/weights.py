"""torch's named parameters <-> the JAX side's pytree of parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Weights:
    """Which leaf of a pytree holds which torch parameter, and whether it holds it transposed.

    Attributes:
        template: a pytree with the structure of the JAX parameters; its leaves give shapes and dtypes.
        names: the torch name of each leaf, in the order of ``jax.tree.leaves(template)``.
        transposed: True for a leaf that holds the transpose of the torch parameter.

    Exactness: bitwise; values are moved, never computed with.
    """

    template: Any
    names: tuple[str, ...]
    transposed: tuple[bool, ...]

    def to_jax(self, named: Mapping[str, Any], *, partial: bool = False) -> Any:
        """Return the pytree that holds the arrays of ``named`` (torch name -> array in torch's layout).

        Args:
            named: the arrays; names that no leaf has are passed over.
            partial: leave None at a leaf whose parameter is missing, as gradients may be.

        Raises:
            KeyError: a leaf's parameter is missing.
            ValueError: a shape does not fit its leaf.
        """
        leaves: list[Any] = []
        for leaf, name, transpose in zip(jax.tree.leaves(self.template), self.names, self.transposed, strict=True):
            if name not in named:
                if partial:
                    leaves.append(None)
                    continue
                raise KeyError(f"no torch parameter {name!r}; there are {', '.join(sorted(named))}")
            array = np.asarray(named[name])
            array = array.T if transpose else array
            if array.shape != np.shape(leaf):
                raise ValueError(f"{name!r} has shape {array.shape} in JAX's layout, its leaf has {np.shape(leaf)}")
            leaves.append(jnp.asarray(array))
        return jax.tree.unflatten(jax.tree.structure(self.template), leaves)

    def to_torch(self, tree: Any) -> dict[str, npt.NDArray[Any]]:
        """Return the pytree's leaves by torch name, in torch's layout; leaves that are None are left out."""
        structure: Any = jax.tree.structure(self.template)
        leaves = structure.flatten_up_to(tree)
        return {
            name: np.asarray(leaf).T if transpose else np.asarray(leaf)
            for leaf, name, transpose in zip(leaves, self.names, self.transposed, strict=True)
            if leaf is not None
        }


def same_weights(named: Mapping[str, Any]) -> Weights:
    """Return the `Weights` of parameters kept as a flat dict under torch's names, in torch's layout.

    Args:
        named: torch name -> array of the parameter's shape.
    """
    template = dict(named)
    return Weights(template, tuple(sorted(template)), (False,) * len(template))


def linear_weights(params: Any, layers: Mapping[str, str]) -> Weights:
    """Match torch's Linear layers with dense layers whose ``kernel`` is the transpose of ``weight``.

    Args:
        params: the JAX parameters, any pytree (a nested dict, ``nnx.state(model, nnx.Param)``, ...); each layer has a
            leaf ``kernel`` of shape (in, out) and may have a ``bias`` of shape (out,).
        layers: torch module name -> path of the layer in ``params``, joined with dots: ``{"0": "layers.0"}``.

    Raises:
        ValueError: a leaf belongs to none of the layers, a layer has no leaf, or a kernel is not that of a dense layer.

    Example:
        >>> import numpy as np
        >>> params = {"dense": {"kernel": np.zeros((3, 2)), "bias": np.zeros(2)}}
        >>> weights = linear_weights(params, {"fc1": "dense"})
        >>> {name: array.shape for name, array in weights.to_torch(params).items()}
        {'fc1.bias': (2,), 'fc1.weight': (2, 3)}
    """
    by_path = {path: module for module, path in layers.items()}
    names, transposed, placed = [], [], set()
    for key_path, array in jax.tree_util.tree_leaves_with_path(params):
        path = jax.tree_util.keystr(key_path, simple=True, separator=".").removesuffix(".value")
        layer, _, leaf = path.rpartition(".")
        if layer not in by_path or leaf not in ("kernel", "bias"):
            known = ", ".join(sorted(by_path)) or "none"
            raise ValueError(f"the leaf {path!r} is no kernel or bias of a layer that was named; named are: {known}")
        if leaf == "kernel" and np.ndim(array) != 2:
            raise ValueError(
                f"the kernel {path!r} has shape {np.shape(array)}: linear_weights moves dense layers, of 2 "
                "dimensions, and the layout of others is no transpose (flax's nn.Conv has HWIO where torch has "
                "OIHW); move it by jnp.transpose(weight, (2, 3, 1, 0))"
            )
        placed.add(layer)
        names.append(f"{by_path[layer]}.{'weight' if leaf == 'kernel' else 'bias'}")
        transposed.append(leaf == "kernel")
    if missing := sorted(set(by_path) - placed):
        raise ValueError(f"no parameters under {', '.join(missing)}; check the paths on the JAX side")
    return Weights(params, tuple(names), tuple(transposed))
