"""Every family of ports, by name."""

from tests.support.ports.attention import ATTENTION
from tests.support.ports.common import Family
from tests.support.ports.convolutions import CONVOLUTIONS
from tests.support.ports.language_model import LANGUAGE_MODEL
from tests.support.ports.perceptron import PERCEPTRON
from tests.support.ports.recurrent import RECURRENT
from tests.support.ports.residual import RESIDUAL

FAMILIES: dict[str, Family] = {
    family.name: family for family in (PERCEPTRON, CONVOLUTIONS, RESIDUAL, ATTENTION, RECURRENT, LANGUAGE_MODEL)
}
