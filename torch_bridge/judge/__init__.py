"""The verdict on a port: whether it is the same function, in float64, and computes it as well as torch does."""
