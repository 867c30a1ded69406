"""torch objects to funcsgd and back, a file for each torch module."""
