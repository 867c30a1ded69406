"""torch's random numbers without torch: its CPU stream, bit for bit, as NumPy arrays.

`Generator` holds a stream and draws from it; `manual_seed`, `rand`, `randn`, `randperm` and their kin use the default
one, as torch does. The ``draw_*`` functions under them are pure: state in, array and next state out.
`torch_bridge.random.traced` has the same stream for use inside ``jax.jit``, ``scan`` and ``vmap``. Importing this needs
no torch.

Example:
    >>> from torch_bridge import random
    >>> _ = random.manual_seed(0)
    >>> random.randperm(5)  # torch.manual_seed(0); torch.randperm(5)
    array([4, 0, 1, 3, 2])
"""

from torch_bridge.random.bernoulli_numbers import draw_bernoulli as draw_bernoulli
from torch_bridge.random.bernoulli_numbers import draw_bernoulli_each as draw_bernoulli_each
from torch_bridge.random.bernoulli_numbers import draw_dropout_mask as draw_dropout_mask
from torch_bridge.random.exponential import draw_exponential as draw_exponential
from torch_bridge.random.generator import Generator as Generator
from torch_bridge.random.generator import bernoulli as bernoulli
from torch_bridge.random.generator import check_generator as check_generator
from torch_bridge.random.generator import default_generator as default_generator
from torch_bridge.random.generator import fork_rng as fork_rng
from torch_bridge.random.generator import get_rng_state as get_rng_state
from torch_bridge.random.generator import initial_seed as initial_seed
from torch_bridge.random.generator import manual_seed as manual_seed
from torch_bridge.random.generator import multinomial as multinomial
from torch_bridge.random.generator import normal as normal
from torch_bridge.random.generator import rand as rand
from torch_bridge.random.generator import randint as randint
from torch_bridge.random.generator import randn as randn
from torch_bridge.random.generator import randperm as randperm
from torch_bridge.random.generator import seed as seed
from torch_bridge.random.generator import set_rng_state as set_rng_state
from torch_bridge.random.integers import draw_any_integers as draw_any_integers
from torch_bridge.random.integers import draw_integers as draw_integers
from torch_bridge.random.mersenne_twister import State as State
from torch_bridge.random.mersenne_twister import seeded as seeded
from torch_bridge.random.multinomial_numbers import draw_multinomial as draw_multinomial
from torch_bridge.random.normal_numbers import draw_normal as draw_normal
from torch_bridge.random.permutation import draw_permutation as draw_permutation
from torch_bridge.random.torch_state import from_bytes as from_bytes
from torch_bridge.random.torch_state import to_bytes as to_bytes
from torch_bridge.random.uniform import draw_uniform as draw_uniform

__all__ = [
    "Generator",
    "State",
    "bernoulli",
    "check_generator",
    "default_generator",
    "draw_any_integers",
    "draw_bernoulli",
    "draw_bernoulli_each",
    "draw_dropout_mask",
    "draw_exponential",
    "draw_integers",
    "draw_multinomial",
    "draw_normal",
    "draw_permutation",
    "draw_uniform",
    "fork_rng",
    "from_bytes",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "multinomial",
    "normal",
    "rand",
    "randint",
    "randn",
    "randperm",
    "seed",
    "seeded",
    "set_rng_state",
    "to_bytes",
]
