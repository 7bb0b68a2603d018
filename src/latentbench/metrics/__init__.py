"""Metrics: pure functions, each with a thin accumulator around it."""
