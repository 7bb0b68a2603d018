"""Decoders' distributions p(x|z)."""
