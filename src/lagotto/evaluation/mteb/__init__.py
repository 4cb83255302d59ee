"""Lagotto's models in mteb: its protocols filled, its tasks and benchmarks run and read."""
