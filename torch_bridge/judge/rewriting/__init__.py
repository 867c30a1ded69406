"""A port's loss function as a graph of operations, in which one of them is replaced and the rest goes on."""
