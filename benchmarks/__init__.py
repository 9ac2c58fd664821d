"""Benchmarks: CPU a piece of work, and its ratio to a floor measured in the same run."""
