"""The end of a script: what its parameters, buffers and random stream are, in every bit."""

import hashlib
import itertools

import torch


def final_bits(*modules):
    digest = hashlib.sha256(torch.get_rng_state().numpy().tobytes())
    for module in modules:
        for tensor in itertools.chain(module.parameters(), module.buffers()):
            digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
