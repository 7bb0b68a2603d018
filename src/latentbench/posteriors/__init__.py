"""Encoders' distributions q(z|x)."""
