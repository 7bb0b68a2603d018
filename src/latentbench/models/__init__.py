"""Generative models as Lightning modules."""
