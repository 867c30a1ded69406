"""Recording of a PyTorch run through hooks."""
