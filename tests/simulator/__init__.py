"""Clusters of our own in virtual time, with faults: `python -m tests.simulator`."""
