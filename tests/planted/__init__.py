"""Faults of our own that the simulator has to find: `python -m tests.planted`."""
