"""The JAX port of `tests.support.small_run`, as a file for the command line."""

import jax.numpy as jnp

import funcsgd
from tests.support.small_run import DATA, loss_fn


def port(trace):
    del trace
    return {"tx": funcsgd.sgd(0.1, 0.9, weight_decay=1e-2), "loss_fn": loss_fn, "data": DATA}


def wrong():
    return {**port(None), "tx": funcsgd.sgd(0.1, 0.9, weight_decay=2e-2)}


def dense():
    shapes = {"first": (6, 5), "second": (5, 3)}
    return {"params": {n: {"kernel": jnp.zeros(s), "bias": jnp.zeros(s[1])} for n, s in shapes.items()}}


def strange():
    return {**port(None), "model": None}


def nothing():
    return None
