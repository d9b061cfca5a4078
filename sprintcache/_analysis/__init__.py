"""Shared parts of statistics and comparison: accumulators, boundaries, units."""
