"""Trackers without a network, for tests and benchmarks."""
