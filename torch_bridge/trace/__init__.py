"""What a training run did, step by step, as one value and one file."""
