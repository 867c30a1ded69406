"""Reports on layers, statistics, precision, gradients, and on the examples."""

import functools

import jax

from benchmarks.faults.recipe import Recipe
from benchmarks.faults.scenarios.report import Scenario, leaves, named
from benchmarks.faults.scenarios.runs import batch_norm, layer_norm, perceptron, strided
from tests.support.planted.examples import INPUTS
from tests.support.planted.losses import of_gradient, of_params
from tests.support.planted.numbers import Numbers

SGD = functools.partial(perceptron, Numbers(lr=0.05, momentum=0.9))
MEAN, VARIANCE = "1.running_mean", "1.running_var"


def _loss(**options):
    return lambda recipe: {"loss_fn": recipe.loss({}, **options)}


def _batch(name: str):
    return lambda recipe: {"data": lambda step, indices: INPUTS[name](recipe.batch(step, indices))}


def _tf32(recipe: Recipe):
    rounded = of_params(lambda params: {k: jax.lax.reduce_precision(p, 8, 10) for k, p in params.items()})
    return {"loss_fn": rounded(recipe.right_loss)}


SCENARIOS = (
    Scenario(
        "Match Flax batch norm params to PyTorch defaults", "https://github.com/scverse/scvi-tools/pull/2309",
        batch_norm, _loss(momentum=0.01, correction=0), ("statistics-momentum", "variance-biased"), 0, ("buffer",),
        named(MEAN, VARIANCE)),
    Scenario(
        "RF BatchNorm running var small diff between TF-layers, pure RF and direct PyTorch, biased vs unbiased",
        "https://github.com/rwth-i6/returnn/issues/1539", batch_norm, _loss(correction=0), ("variance-biased",), 0,
        ("buffer",), named(VARIANCE)),
    Scenario(
        "MaxVIT Model - BatchNorm momentum is incorrect", "https://github.com/pytorch/vision/issues/8250", batch_norm,
        _loss(momentum=0.9), ("momentum-reversed",), 0, ("buffer",), named(MEAN, VARIANCE)),
    Scenario(
        "Align the layer norm epsilon value with PyTorch", "https://github.com/OpenNMT/CTranslate2/pull/951",
        layer_norm, _loss(eps=1e-6), ("constant-of-the-function",), 0, ("forward",), named("1")),
    Scenario(
        "SwinV2: add configurable act_layer argument",
        "https://github.com/huggingface/pytorch-image-models/pull/2105", SGD, _loss(approximate=True),
        ("gelu-approximated",), 0, ("forward",), named("1")),
    Scenario(
        "Inconsistent results when copying pytorch model weights to flax model",
        "https://github.com/google/flax/issues/2993", strided, _loss(padding="SAME"), ("convolution-padding",), 0,
        ("forward",), named("0")),
    Scenario(
        "[bugfix]: change default float format from tf32 to fp32", "https://github.com/typoverflow/flow-rl/pull/12",
        SGD, _tf32, ("precision-reduced",), 0, ("forward",), named("0")),
    Scenario(
        "Verify replicated-source-leaf grad is MEAN not SUM across devices (R-7)",
        "https://github.com/goodfire-ai/spd/issues/658", SGD,
        lambda recipe: {"loss_fn": of_gradient(lambda g, p, n: 4 * g)(recipe.right_loss)}, ("gradient-scaled",), 0,
        ("gradient",), leaves("all")),
    Scenario(
        "Input channels and range of values", "https://github.com/prlz77/vgg-face.pytorch/issues/2", strided,
        _batch("channels-reversed"), ("channels-reversed",), 0, ("forward",), named("0")),
    Scenario(
        "RGB Normalization problem", "https://github.com/sniklaus/pytorch-hed/issues/15", strided,
        _batch("inputs-over-256"), ("inputs-over-256",), 0, ("forward",), named("0")),
)  # fmt: skip
