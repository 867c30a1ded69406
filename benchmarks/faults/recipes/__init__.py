"""The recipes."""

from benchmarks.faults.recipe import Recipe
from benchmarks.faults.recipes import adam, adamw, averaged, convolutions, perceptron

RECIPES: dict[str, Recipe] = {
    each.RECIPE.name: each.RECIPE for each in (perceptron, adam, adamw, convolutions, averaged)
}
