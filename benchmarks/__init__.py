"""Side-by-side ratios, one command a file: ``python -m benchmarks.update``."""
