"""Roundings: torch's, written so that compilers keep them, and the question whether they do."""

from funcsgd.arithmetic.elementwise import add as add
from funcsgd.arithmetic.elementwise import add_to_rounded as add_to_rounded
from funcsgd.arithmetic.elementwise import addcdiv as addcdiv
from funcsgd.arithmetic.elementwise import addcmul as addcmul
from funcsgd.arithmetic.elementwise import compute_dtype as compute_dtype
from funcsgd.arithmetic.elementwise import div as div
from funcsgd.arithmetic.elementwise import lerp as lerp
from funcsgd.arithmetic.elementwise import mul as mul
from funcsgd.arithmetic.elementwise import quotient as quotient
from funcsgd.arithmetic.elementwise import step as step
from funcsgd.arithmetic.exactness import Exactness as Exactness
from funcsgd.arithmetic.exactness import exactness as exactness
from funcsgd.arithmetic.marks import rounded as rounded
from funcsgd.arithmetic.marks import written as written
from funcsgd.arithmetic.mode import exact_arithmetic as exact_arithmetic
from funcsgd.arithmetic.mode import is_exact as is_exact
from funcsgd.arithmetic.parts import by_parts as by_parts
from funcsgd.arithmetic.square_root import SquareRoot as SquareRoot
from funcsgd.arithmetic.square_root import as_root as as_root
from funcsgd.arithmetic.square_root import sqrt as sqrt
from funcsgd.arithmetic.square_root import square_root as square_root
from funcsgd.arithmetic.update import UnroundedUpdate as UnroundedUpdate
