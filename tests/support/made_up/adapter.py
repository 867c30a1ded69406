"""Lion's adapter."""

from tests.support.made_up.rule import lion
from torch_bridge.translate.optimizers import Adapter, Nearest, Number


def _nearest(options):
    b1, b2 = options["betas"]
    return Nearest((), f"optax.lion({options['lr']}, {b1}, {b2}, weight_decay=0.0)", ("the averages round otherwise",))


LION = Adapter(
    torch_class="tests.support.made_up.torch_side.Lion",
    numbers=(
        Number("learning_rate", "lr"),
        Number("beta1", "betas", 0, shows_in="direction", optax=("b1",)),
        Number("beta2", "betas", 1, shows_in="exp_avg", optax=("b2",)),
    ),
    flags=("maximize",),
    state=("exp_avg",),
    quantities=("beta1", "direction", "beta2", "exp_avg", "learning_rate"),
    rule=lion,
    nearest=_nearest,
    optax_fields={"mu": "exp_avg"},
)
