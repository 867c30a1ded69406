"""Ports with faults, written as porters write them, without the catalogue; tests and benchmarks plant from here."""
