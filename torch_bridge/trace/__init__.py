"""A recorded training run, step by step, as one value and one file."""
