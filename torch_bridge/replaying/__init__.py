"""A JAX run through the steps of a recorded one."""
