"""A PyTorch run, watched through hooks."""
