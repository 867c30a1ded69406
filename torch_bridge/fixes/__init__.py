"""Proved causes as changes of the port's own file: sought by its syntax tree, each proved by a check of the result.

A cause says what is wrong, and seldom where in the source. So every place that its fix could be is tried: a keyword of
a call whose signature has it, a literal that equals the port's number, a step of a chain in another place. A change is
proposed only if the changed file passes; where nothing in the file does, as for a rule that is imported, the fix stays
a sentence.
"""
