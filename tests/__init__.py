"""The tests of trio_s2s."""
