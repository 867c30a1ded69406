"""An optimizer that nothing in the packages names: torch's side, its rule in JAX, and the adapter between them."""
