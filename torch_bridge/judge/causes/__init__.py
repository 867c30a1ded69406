"""Causes: faults named by the repair after which the two sides agree, never by a likeness.

An entry of the catalogue is one way in which ports go wrong. It states what the port computes in terms of what torch
computes, and is tried on recorded numbers in float64. For an update rule the entry is planted in torch's rule, and is
the cause if the port's numbers come out (torch's rule with "decay after momentum" *is* the port's); for batch, loss and
gradient the entry is undone on the port's side, and is the cause if torch's numbers come out. Either way the named one
is that after which the two sides agree, in every quantity, at every step that was evaluated, within the limits of the
verdict itself.
"""
