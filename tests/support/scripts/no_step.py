"""A script that only evaluates, and leaves with the status that it is given."""

import sys

import torch

print(torch.nn.Linear(2, 1).eval()(torch.zeros(3, 2)).shape)
sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 else None)
