"""Checks that JAX training matches PyTorch step for step, and draws what torch draws, without torch."""
