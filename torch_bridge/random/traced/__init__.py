"""The same stream inside ``jax.jit``, ``lax.scan`` and ``vmap``: a hundred seeds of one run in one program.

The functions are the host's, under the same names, on a `TracedState`; `Generator` holds one, as the host's does.
Shapes and bounds are static, the state and the seed may be traced. float32, bfloat16 and float16 come out; what torch
calculates in float64 (float64 arrays, fewer than 16 normals) stays with the host.

Example:
    >>> import jax
    >>> orders = jax.vmap(lambda seed: draw_permutation(seeded(seed), 5)[0])
    >>> orders(jax.numpy.arange(2))  # torch.manual_seed(0), then 1; torch.randperm(5)
    Array([[4, 0, 1, 3, 2],
           [0, 4, 2, 3, 1]], dtype=int32)
"""

from torch_bridge.random.traced.generator import Generator as Generator
from torch_bridge.random.traced.integers import draw_integers as draw_integers
from torch_bridge.random.traced.mersenne_twister import TracedState as TracedState
from torch_bridge.random.traced.mersenne_twister import draw_32 as draw_32
from torch_bridge.random.traced.mersenne_twister import draw_seed as draw_seed
from torch_bridge.random.traced.mersenne_twister import from_host as from_host
from torch_bridge.random.traced.mersenne_twister import seeded as seeded
from torch_bridge.random.traced.mersenne_twister import to_host as to_host
from torch_bridge.random.traced.normal import draw_normal as draw_normal
from torch_bridge.random.traced.permutation import draw_permutation as draw_permutation
from torch_bridge.random.traced.uniform import draw_uniform as draw_uniform

__all__ = [
    "Generator",
    "TracedState",
    "draw_32",
    "draw_integers",
    "draw_normal",
    "draw_permutation",
    "draw_seed",
    "draw_uniform",
    "from_host",
    "seeded",
    "to_host",
]
