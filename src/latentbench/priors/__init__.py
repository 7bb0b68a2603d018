"""Distributions p(z) of the latents."""
