"""Distributions that torch does not have."""
