"""The verdict on a port: is it the same function, asked in float64, and does it compute it as well as torch does."""
