"""Regularizers, which pull the codes towards the prior."""
