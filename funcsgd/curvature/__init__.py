"""Second derivatives along a direction: products, estimates, and the rules that step by them.

The products, such as `hvp` and `directional_curvature`, are functions of a loss, its parameters and a direction.
`scale_by_quadratic_linesearch` steps to the minimum of the quadratic approximation along the direction of a rule,
`observe_quadratic_step` measures where that minimum is, and `scale_by_hutchinson` divides by the Hessian's diagonal.
"""

from funcsgd.curvature.derivatives import DirectionalDerivatives as DirectionalDerivatives
from funcsgd.curvature.derivatives import directional_curvature as directional_curvature
from funcsgd.curvature.derivatives import directional_derivatives as directional_derivatives
from funcsgd.curvature.derivatives import gauss_newton_curvature as gauss_newton_curvature
from funcsgd.curvature.derivatives import gauss_newton_product as gauss_newton_product
from funcsgd.curvature.derivatives import hvp as hvp
from funcsgd.curvature.hutchinson import hutchinson_diagonal as hutchinson_diagonal
from funcsgd.curvature.line_measurement import QuadraticStepState as QuadraticStepState
from funcsgd.curvature.line_search import observe_quadratic_step as observe_quadratic_step
from funcsgd.curvature.line_search import scale_by_quadratic_linesearch as scale_by_quadratic_linesearch
from funcsgd.curvature.preconditioning import DiagonalInfo as DiagonalInfo
from funcsgd.curvature.preconditioning import ScaleByDiagonalState as ScaleByDiagonalState
from funcsgd.curvature.preconditioning import ScaleByHutchinsonState as ScaleByHutchinsonState
from funcsgd.curvature.preconditioning import scale_by_diagonal as scale_by_diagonal
from funcsgd.curvature.preconditioning import scale_by_hutchinson as scale_by_hutchinson
from funcsgd.curvature.quadratic_step import QuadraticStepInfo as QuadraticStepInfo

__all__ = [
    "DiagonalInfo",
    "DirectionalDerivatives",
    "QuadraticStepInfo",
    "QuadraticStepState",
    "ScaleByDiagonalState",
    "ScaleByHutchinsonState",
    "directional_curvature",
    "directional_derivatives",
    "gauss_newton_curvature",
    "gauss_newton_product",
    "hutchinson_diagonal",
    "hvp",
    "observe_quadratic_step",
    "scale_by_diagonal",
    "scale_by_hutchinson",
    "scale_by_quadratic_linesearch",
]
